"""The sampler ``person``: people of a parquet or csv file the user names, such as a Nemotron-Personas dataset.

The people that fit the parameters are counted in the order of the file, and a row takes the one its number points to.
The columns that are used are held in memory while a run goes on. Values are what the file says (V4): the types of a
csv file are guessed as those of seed data are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from rowmill.generators.samplers.drawn_parameters import DrawnParameters, ParametersProblem, RowSampler
from rowmill.generators.samplers.faker_person import OLDEST, AgeRange, Cities, Sex
from rowmill.generators.samplers.people import (
    UnreadablePeople,
    digest_of,
    kept_values,
    opened_people,
    quoted,
    sql_type_of,
)
from rowmill.spec.column import Items
from rowmill.spec.nearest import did_you_mean
from rowmill.value.python_value import python_rows

_TRAITS = frozenset(
    {
        "aspects",
        "career_goals_and_ambitions",
        "cultural_background",
        "digital_skill",
        "hobbies_and_interests",
        "hobbies_and_interests_list",
        "linguistic_background",
        "religious_background",
        "skills_and_expertise",
        "skills_and_expertise_list",
        "openness",
        "conscientiousness",
        "extraversion",
        "agreeableness",
        "neuroticism",
    }
)
"""Columns about a person's character: with those named persona or …_persona, what ``with_synthetic_personas`` adds."""


class PersonParameters(DrawnParameters):
    """One of the people of a file who fit."""

    file: Annotated[str, Field(min_length=1)]
    """A parquet or csv file (also ``.tsv``, ``.csv.gz``, ``.csv.zst``) with a person a row and a column ``age``; relative
    paths start at the spec's directory. A csv file is read as [seed data](seeds.md#values-and-types) is."""
    locale: str = "en_US"
    """Compared with the file's column ``locale``; if it has none, all its people have this one."""
    sex: Sex | None = None
    """``Male`` or ``Female``. Default: both."""
    city: Cities = None
    """The only city people live in, or a list of them. Default: any."""
    age_range: AgeRange = (18, OLDEST)
    """The youngest and the oldest, both included."""
    select_field_values: dict[str, Annotated[Items[str], Field(min_length=1)]] | None = None
    """Column → the values that fit: ``{column: [values]}``. Default: all fit."""
    with_synthetic_personas: bool = False
    """Also the columns ``persona``, ``…_persona`` and other traits."""

    def sampler(self, directory: Path | None) -> RowSampler:
        return self._people(directory)

    def sql_type_in(self, directory: Path | None) -> str:
        columns = self._columns(self._opened(directory).schema)
        return f"STRUCT({', '.join(f'{quoted(name)} {sql_type_of(kind)}' for name, kind in columns.items())})"

    def content(self, directory: Path | None) -> dict[str, Any]:
        return {"file_sha256": digest_of(self._path(directory))}

    def _opened(self, directory: Path | None) -> Any:
        path = self._path(directory)
        try:
            return opened_people(path)
        except UnreadablePeople as error:
            raise ParametersProblem(f"'{self.file}' cannot be read as {error.kind}: {error}", "file") from error

    def _path(self, directory: Path | None) -> Path:
        path = (directory or Path()) / Path(self.file).expanduser()
        if not path.is_file():
            raise ParametersProblem(f"There is no file '{self.file}' (looked for {path}).", "file")
        return path

    def _columns(self, schema: pa.Schema) -> dict[str, pa.DataType]:
        """Names and types of the person's fields: the file's columns, and the locale."""
        kinds = {
            field.name: field.type for field in schema if self.with_synthetic_personas or not _is_persona(field.name)
        }
        return kinds if "locale" in kinds else {**kinds, "locale": pa.string()}

    def _filters(self, schema: pa.Schema) -> dict[str, Any]:
        wanted: dict[str, Any] = {}
        if "locale" in schema.names:
            wanted["locale"] = [self.locale]
        if self.sex is not None:
            wanted["sex"] = [self.sex]
        if self.city is not None:
            wanted["city"] = [self.city] if isinstance(self.city, str) else list(self.city)
        for name, values in (self.select_field_values or {}).items():
            wanted[name] = list(values)
        for name in [*wanted, "age"]:
            if name not in schema.names:
                field = f"select_field_values.{name}" if name in (self.select_field_values or {}) else "file"
                hint = did_you_mean(name, schema.names) or f" It has: {', '.join(schema.names[:20])}."
                raise ParametersProblem(f"'{self.file}' has no column '{name}', which is asked for.{hint}", field)
        age = schema.field("age").type
        if not (pa.types.is_integer(age) or pa.types.is_floating(age) or pa.types.is_decimal(age)):
            message = f"The ages in '{self.file}' are no numbers: the column 'age' is {sql_type_of(age)}."
            raise ParametersProblem(message, "file")
        return wanted

    def _fitting(self, schema: pa.Schema) -> Any:
        """What a person of the file must be, as an expression over its columns."""
        least, greatest = self.age_range
        fits = (pc.field("age") >= least) & (pc.field("age") <= greatest)
        for name, values in self._filters(schema).items():
            fits &= pc.field(name).cast(pa.string()).isin(values)
        return fits

    def check_sampler(self, directory: Path | None) -> None:
        """Counts who fits, without reading more of them than that takes."""
        opened = self._opened(directory)
        fits = self._fitting(opened.schema)
        with self._reading():
            count = opened.count_rows(filter=fits)
        if not count:
            raise ParametersProblem(f"Nobody in '{self.file}' fits the parameters; ask for less.", "")

    def _people(self, directory: Path | None) -> _FilePeople:
        opened = self._opened(directory)
        columns = self._columns(opened.schema)
        with self._reading():
            read = [name for name in opened.schema.names if name in columns]
            people = opened.to_table(columns=read, filter=self._fitting(opened.schema))
        if not people.num_rows:
            raise ParametersProblem(f"Nobody in '{self.file}' fits the parameters; ask for less.", "")
        if "locale" not in people.column_names:
            people = people.append_column("locale", pa.array([self.locale] * people.num_rows))
        kept = {}
        for name in columns:
            try:
                kept[name] = kept_values(people.column(name))
            except pa.ArrowException as error:
                raise ParametersProblem(f"'{self.file}', column '{name}': {error}", "file") from error
        return _FilePeople(pa.table(kept))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise ParametersProblem(f"'{self.file}' cannot be read: {error}", "file") from error


class _FilePeople:
    """People in the order of their file."""

    def __init__(self, people: pa.Table) -> None:
        self._people = people

    def draw(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        count = self._people.num_rows
        # 128 bits scaled to the count: every person is as likely as the other to 1 in 2^100.
        chosen = [(number * count) >> 128 for number in numbers]
        return list(python_rows(self._people.take(chosen)))


def _is_persona(name: str) -> bool:
    return name == "persona" or name.endswith("_persona") or name in _TRAITS
