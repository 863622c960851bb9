"""The seed dataset: where the rows a run starts from come from, and which of them in which order."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializeAsAny,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from rowmill.errors import Problem, SeedMissing, SpecError
from rowmill.spec.column import Items, StrictModel
from rowmill.spec.dtype import Dtype, sql_type
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.problems import failing
from rowmill.spec.registry import SEED_READERS
from rowmill.spec.secret_reference import is_secret_reference
from rowmill.spec.seed_selection import Selection

if TYPE_CHECKING:
    import pyarrow as pa

    SeedType = Literal["local", "hf", "directory", "file_contents", "agent_rollout", "df", "run"]
else:
    SeedType = str  # those of plug-ins, too

SeedFormat = Literal["csv", "jsonl", "json", "parquet", "arrow"]
RolloutFormat = Literal["atif", "claude_code", "codex", "hermes_agent", "pi_coding_agent"]

FILE_FORMATS: dict[str, SeedFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
ROLLOUT_FORMATS: dict[RolloutFormat, tuple[str | None, str]] = {
    "atif": (None, "*.json"),
    "claude_code": ("~/.claude/projects", "*.jsonl"),
    "codex": ("~/.codex/sessions", "rollout-*.jsonl"),
    "hermes_agent": ("~/.hermes/sessions", "*.json*"),
    "pi_coding_agent": ("~/.pi/agent/sessions", "*.jsonl"),
}
"""Per agent the directory it keeps its sessions in, and what their files are called."""

ANY_COLUMN = "*"
"""In ``types``: every column that is not named."""
_WHOLE_FILES = frozenset({"local", "hf"})
_DIRECTORIES = frozenset({"directory", "file_contents", "agent_rollout"})
_ONLY_FOR: dict[str, frozenset[str]] = {
    "format": _WHOLE_FILES | {"agent_rollout"},
    "file_pattern": _DIRECTORIES,
    "recursive": _DIRECTORIES,
    "encoding": frozenset({"file_contents"}),
    "token": frozenset({"hf"}),
    "endpoint": frozenset({"hf"}),
    "storage_options": frozenset({"local", "directory", "file_contents"}),
    "df": frozenset({"df"}),
    "where": frozenset({"run"}),
    "columns": frozenset({"run"}),
    "follow": frozenset({"run"}),
}


class SeedDatasetConfig(StrictModel):
    """Where seed rows come from. Relative paths start at the directory of the spec."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    seed_type: SeedType = "local"
    """``local``: files of rows; ``hf``: such files on the Hugging Face hub; ``directory``: a row for each file of a
    directory; ``file_contents``: the same with its text; ``agent_rollout``: a row for each session a coding agent has
    recorded; ``run``: the finished rows of another run; ``df``: rows given from Python; or the seed reader of a
    plug-in."""
    params: SerializeAsAny[StrictModel] | None = Field(default=None, validate_default=True)
    """What the seed reader of a plug-in is told."""
    path: str | Items[str] | None = None
    """A file, a glob, or a list of them; a directory for the types that read one. URLs like ``s3://bucket/*.csv`` are
    read through fsspec (``pip install 'rowmill[remote]'`` and the package for the service). ``hf``:
    ``datasets/USER/NAME/**/*.parquet`` (``pip install 'rowmill[hf]'``)."""
    df: Any = Field(default=None, exclude=True, repr=False)
    """Only from Python: anything with the Arrow C stream protocol. Never written down."""
    format: str | None = None
    """Of files: ``csv`` (also tsv, with a header), ``jsonl`` (also ndjson), ``json``, ``parquet``, ``arrow`` (also
    .feather, .ipc), each also with ``.gz`` or ``.zst``; all files of one format, with the same columns. Of
    ``agent_rollout``: ``atif``, ``claude_code``, ``codex``, ``hermes_agent`` or ``pi_coding_agent``. Default: told by
    the ending."""
    file_pattern: str | None = None
    """Which files of a directory, by their name (``*.md``). Default: all, or those the agent's format is known by."""
    recursive: bool = True
    """Also those in directories below it."""
    encoding: str = "utf-8"
    """``file_contents``: of the files."""
    token: str | None = None
    """``hf``: ``"${HF_TOKEN}"``. Default: what the hub's own login has left, or none."""
    endpoint: str | None = None
    """``hf``: another hub. Default: that of the environment, or the public one."""
    storage_options: dict[str, JsonValue] = Field(default_factory=dict)
    """For the file system of a URL; secrets as ``"${NAME}"``."""
    where: str | None = Field(default=None, min_length=1)
    """``run``: only finished rows that meet this condition over its columns, in SQL: ``judge.tone.score >= 3``."""
    columns: Items[str] | None = None
    """``run``: only these columns of it. Default: all. ``source_row_id`` always comes first: the row it was there."""
    follow: Annotated[bool, Field(strict=True)] = False
    """``run``: also its rows that finish while it lives, as they come, and after it was extended; needs ``records:
    all``. See [below](seeds.md#another-run)."""
    types: dict[str, Dtype] = Field(default_factory=dict)
    """Column → its type, as for ``dtype``; ``"*"``: all columns that are not named. ``types: str`` is short for
    ``types: {"*": str}``. They are the types before ``explode``. Default: what the source says, or a guess."""
    sampling_strategy: Literal["ordered", "shuffle"] = "ordered"
    """``shuffle``: a permutation that follows from ``seed`` (V1). Both begin again, in the same order, when all rows
    were used."""
    selection: Selection | None = None
    """``{start, end}``: row numbers from 0, **both included**; or ``{index, num_partitions}``: part ``index`` (from 0)
    of so many, the remainder in the last. Default: all rows."""
    explode: str | None = Field(default=None, min_length=1)
    """A list column: one seed row for each of its elements; a row whose list is empty gives none. Counts after
    ``selection``."""

    @model_validator(mode="before")
    @classmethod
    def _hub_urls_are_of_the_hub(cls, value: object) -> object:
        if isinstance(value, Mapping) and "seed_type" not in value and _all_start_with(value.get("path"), "hf://"):
            return {**value, "seed_type": "hf"}
        return value

    @field_validator("seed_type")
    @classmethod
    def _type_is_known(cls, value: SeedType) -> SeedType:
        SEED_READERS.require(value)
        return value

    @field_validator("params", mode="wrap")
    @classmethod
    def _params_are_of_the_reader(cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        reader = SEED_READERS.find(info.data.get("seed_type", ""))
        if reader is not None:
            return reader.model_validate({} if value is None else value)
        if value is not None and "seed_type" in info.data:
            raise ValueError(f"Has no meaning for seed_type '{info.data['seed_type']}', only for those of plug-ins.")
        return None

    @classmethod
    def field_model(cls, field: str, data: Mapping[str, Any]) -> type[BaseModel] | None:
        """What the seed reader at hand is told."""
        return SEED_READERS.find(str(data.get("seed_type"))) if field == "params" else None

    @field_validator("df", mode="before")
    @classmethod
    def _df_is_an_arrow_table(cls, value: object) -> object:
        return None if value is None else _arrow_table(value)

    @field_validator("types", mode="before", json_schema_input_type=str | dict[str, str])
    @classmethod
    def _one_type_is_that_of_all(cls, value: object) -> object:
        return {ANY_COLUMN: value} if isinstance(value, str) else value

    @field_validator("path", mode="before")
    @classmethod
    def _paths_are_texts(cls, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, Path):
            value = str(value)
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, (list, tuple)) or not all(isinstance(path, str) for path in paths):
            raise ValueError("Expected a path, or a list of paths.")
        if not paths or not all(path.strip() for path in paths):
            raise ValueError("The path is empty; name at least one file.")
        if len({path.partition("://")[0] if "://" in path else "" for path in paths}) > 1:
            raise ValueError("The paths are of different places; all must be local, or URLs that begin the same.")
        return value if isinstance(value, str) else tuple(paths)

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        try:
            "".encode(value)
        except (LookupError, ValueError):
            message = f"Python knows no text encoding '{value}'; common ones are utf-8, utf-16, latin-1, cp1252."
            raise ValueError(message) from None
        return value

    @field_validator("file_pattern")
    @classmethod
    def _pattern_is_of_names(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or "/" in value):
            raise ValueError("Expected a pattern of file names without a directory, like '*.md'.")
        return value

    @field_validator("token")
    @classmethod
    def _token_is_a_reference(cls, value: str | None) -> str | None:
        if value is not None and not is_secret_reference(value):
            raise ValueError("A token is never written into a spec; refer to a variable, for example '${HF_TOKEN}'.")
        return value

    @field_validator("storage_options")
    @classmethod
    def _secrets_are_references(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name, option in value.items():
            secret = any(word in name.lower() for word in ("key", "secret", "token", "password", "credential"))
            if secret and isinstance(option, str) and not is_secret_reference(option):
                raise ValueError(f"'{name}' may be a secret; refer to a variable, for example '${{{name.upper()}}}'.")
        return value

    @model_validator(mode="after")
    def _fields_fit_the_type(self) -> Self:
        errors = [
            (field, f"Has no meaning for seed_type '{self.seed_type}', only for {' and '.join(sorted(types))}.")
            for field, types in _ONLY_FOR.items()
            if self.seed_type not in types and getattr(self, field) != _default_of(type(self), field)
        ]
        if self.params is not None:
            if self.path is not None:
                errors.append(("path", f"seed_type '{self.seed_type}' takes its own params, and no path."))
        elif self.seed_type == "df":
            if self.path is not None:
                errors.append(("path", "Rows that are given from Python have no path; leave it out."))
        elif self.path is None and not (self.seed_type == "agent_rollout" and self._rollout_home):
            errors.append(("path", "Field 'path' is required."))
        if self.seed_type == "run" and isinstance(self.path, tuple):
            errors.append(("path", "seed_type 'run' reads one run database, not a list."))
        if self.seed_type in _DIRECTORIES and isinstance(self.path, tuple):
            errors.append(("path", f"seed_type '{self.seed_type}' reads one directory, not a list."))
        if self.seed_type == "agent_rollout" and self.format not in ROLLOUT_FORMATS:
            errors.append(("format", _unknown("agent_rollout needs a format", self.format, ROLLOUT_FORMATS)))
        if self.follow and self.selection is not None:
            errors.append(
                ("selection", "Rows of a run that is followed come one after the other: say 'where' instead.")
            )
        if self.follow and self.sampling_strategy == "shuffle":
            errors.append(("sampling_strategy", "Rows of a run that is followed are taken as they come, not shuffled."))
        if errors:
            raise failing("seed_dataset", [((field,), text) for field, text in dict(errors).items()])
        if self.seed_type in _WHOLE_FILES:
            _ = self.file_format
        return self

    def said_type(self, column: str) -> str | None:
        """The DuckDB type that was said for a column; None: what the source says, or what is guessed."""
        said = self.types.get(column, self.types.get(ANY_COLUMN))
        return None if said is None else sql_type(said)

    def reads_like(self, other: SeedDatasetConfig | None) -> bool:
        """Do both give the same rows from the same files, wherever those are?"""
        return other is not None and self._reading == other._reading

    @property
    def _reading(self) -> object:
        elsewhere = {"path", "token", "endpoint", "storage_options", "format", "follow"}
        format_ = self.file_format if self.seed_type in _WHOLE_FILES else self.format
        return self.model_dump(mode="json", exclude=elsewhere), format_

    @property
    def _rollout_home(self) -> str | None:
        return next((home for name, (home, _) in ROLLOUT_FORMATS.items() if name == self.format), None)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths, globs and URLs as written; of an agent, the directory it is known to use if none is."""
        if self.path is None:
            return (str(Path(self._rollout_home).expanduser()),) if self._rollout_home else ()
        return (self.path,) if isinstance(self.path, str) else tuple(self.path)

    @property
    def is_remote(self) -> bool:
        """Are the paths URLs?"""
        return self.seed_type == "hf" or any("://" in path for path in self.paths)

    @property
    def pattern(self) -> str:
        """Which files of a directory are meant."""
        if self.file_pattern is not None:
            return self.file_pattern
        return next((names for name, (_, names) in ROLLOUT_FORMATS.items() if name == self.format), "*")

    @property
    def file_format(self) -> SeedFormat:
        """``format``, or what the endings of the paths tell (a further ``.gz`` or ``.zst`` is ignored)."""
        known = set(FILE_FORMATS.values())
        if self.format is not None:
            found = next((name for name in known if name == self.format), None)
            if found is None:
                raise failing("seed_dataset", [(("format",), _unknown("There is no such format", self.format, known))])
            return found
        formats = {self._format_of(path) for path in self.paths}
        if len(formats) > 1:
            raise ValueError(f"The paths have different formats ({', '.join(sorted(formats))}); they must be the same.")
        return formats.pop()

    @staticmethod
    def _format_of(path: str) -> SeedFormat:
        name = Path(path.lower().removesuffix(".gz").removesuffix(".zst"))
        found = FILE_FORMATS.get(name.suffix)
        if found is None:
            known = sorted(set(FILE_FORMATS.values()))
            hint = did_you_mean(name.suffix.lstrip("."), known) if name.suffix else ""
            raise ValueError(
                f"The ending of '{path}' tells no format; set format to one of {', '.join(known)}.{hint} "
                "For the files of a directory say seed_type: directory, or file_contents for their texts."
            )
        return found

    def files(self, directory: Path) -> list[Path]:
        """The local files, globs expanded in sorted order, each once. Looks at the file system.

        Raises :class:`~rowmill.errors.SpecError` for paths that match nothing.
        """
        found: dict[Path, None] = {}
        problems = []
        for position, path in enumerate(self.paths):
            matches = self._matches(directory, path)
            if not matches:
                problems.append(Problem(self.place(position), _not_there(directory, path)))
            found.update(dict.fromkeys(matches))
        if problems:
            raise (SpecError if any((directory / path).is_dir() for path in self.paths) else SeedMissing)(problems)
        return list(found)

    def place(self, position: int = 0) -> str:
        """Where in the spec the path at that position stands."""
        return f"seed_dataset.path.{position}" if isinstance(self.path, tuple) else "seed_dataset.path"

    @staticmethod
    def _matches(directory: Path, path: str) -> list[Path]:
        literal = directory / path
        if literal.is_file():
            return [literal]
        if not glob.has_magic(path):
            return []
        pattern = path if Path(path).is_absolute() else f"{glob.escape(str(directory))}/{path}"
        return sorted(file for file in map(Path, glob.glob(pattern, recursive=True)) if file.is_file())

    def fingerprint(self) -> dict[str, JsonValue]:
        """What of the configuration shapes values; that of the rows themselves is their digest."""
        shaping: dict[str, JsonValue] = self.model_dump(mode="json", include={"sampling_strategy", "selection"})
        return shaping if self.explode is None else {**shaping, "explode": self.explode}


def _all_start_with(paths: object, start: str) -> bool:
    each = [paths] if isinstance(paths, str) else paths
    return isinstance(each, (list, tuple)) and bool(each) and all(str(path).startswith(start) for path in each)


def _default_of(model: type[StrictModel], field: str) -> Any:
    return model.model_fields[field].get_default(call_default_factory=True)


def _unknown(words: str, given: str | None, known: Any) -> str:
    hint = did_you_mean(given, known) if given else ""
    return f"{words}: one of {', '.join(sorted(known))}.{hint}"


def _not_there(directory: Path, path: str) -> str:
    if (directory / path).is_dir():
        return f"'{path}' is a directory; say seed_type: directory for its files, file_contents for their texts."
    return f"There is no file '{path}' (relative to {directory.absolute()})."


def _arrow_table(value: object) -> pa.Table:
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    if not hasattr(value, "__arrow_c_stream__"):
        raise ValueError(
            "Expected an Arrow table, or a frame that can hand itself over as one (pandas from 2.2 on, polars from "
            f"1.3 on), not {type(value).__name__}."
        )
    objects = [str(name) for name, kind in _kinds(value) if str(kind) == "Object"]
    if objects:
        raise ValueError(
            f"Column {objects[0]!r} of the {type(value).__name__} holds objects of Python, of which Arrow gets nothing "
            "but their addresses; hand the values over as numbers, texts or times."
        )
    try:
        return _without_index(pa.RecordBatchReader.from_stream(value).read_all())
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"The {type(value).__name__} cannot be handed over as Arrow: {error}") from error


def _kinds(value: object) -> Iterable[tuple[Any, Any]]:
    """Names and types of the columns of a polars frame; nothing of other frames."""
    schema = getattr(value, "schema", None)
    return schema.items() if isinstance(schema, Mapping) else ()


def _without_index(table: pa.Table) -> pa.Table:
    """The table without the index of a pandas frame, which pandas hands over as columns."""
    try:
        index = json.loads((table.schema.metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, ValueError):
        return table  # no frame of pandas
    return table.drop_columns([name for name in index if isinstance(name, str) and name in table.column_names])
