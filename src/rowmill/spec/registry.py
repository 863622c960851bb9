"""Registries: from a name in a spec to the class that knows it, built in or of a plug-in.

There is one for each kind of thing a package may bring (:data:`REGISTRIES`): column types, samplers, seed readers,
validators, processors, providers. A plug-in is an entry point, name → ``module:Class``, of the group named after the
kind (``rowmill.samplers``). Classes are imported when a spec first names them, so that ``spec`` stays the lowest layer
and ``rowmill -h`` stays quick; installed packages are only looked at for a name that is not built in.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from rowmill.errors import Problem, SpecError
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.other_words import other_word_for_type

if TYPE_CHECKING:
    from rowmill.generators.samplers.parameters import SamplerParameters
    from rowmill.generators.validators.parameters import ValidatorParameters
    from rowmill.providers.protocol import ProviderPlugIn
    from rowmill.seeds.reader import SeedReader
    from rowmill.spec.column import ColumnConfig
    from rowmill.spec.processor import ProcessorConfig

T = TypeVar("T")
_Class = TypeVar("_Class", bound="type[ColumnConfig]")


class _Place(NamedTuple):
    """Where a class is: ``module:Class``, the package that says so, and that package's version."""

    path: str
    package: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.path} (package {self.package} {self.version})" if self.package else self.path


class Registry(Generic[T]):
    """The classes of one kind by name. Built-in names cannot be taken; no name can be taken twice."""

    def __init__(self, noun: str, base: str, built_in: Mapping[str, str]) -> None:
        """``noun`` (``column type``) names the kind and, in the plural, the group of its entry points; ``base`` is
        where the class is that all of them derive from; ``built_in``: where each class is, ``""`` for those that
        are a part of Rowmill without a class of their own."""
        self.noun = noun
        self.group = f"rowmill.{noun.replace(' ', '_')}s"
        self.built_in = dict(built_in)
        self._base = base
        self._places = {name: [_Place(path)] for name, path in built_in.items() if path}
        self._classes: dict[str, type[T]] = {}
        self._has_looked = False

    def find(self, name: str) -> type[T] | None:
        """The class of that name, imported if need be; None if there is none.

        Raises :class:`~rowmill.errors.SpecError` when it is known but cannot be imported, or two packages claim it.
        """
        found = self._classes.get(name)
        if found is not None or self.built_in.get(name) == "":
            return found
        if name not in self._places:
            self._look()
        places = self._places.get(name)
        if not places:
            return None
        if len(places) > 1:
            claims = " and ".join(f"{place.package} ({place.path})" for place in places)
            raise self._problem(f"{self._title(name)} is claimed by two packages: {claims}. Uninstall one of them.")
        return self._classes.setdefault(name, self._imported(name, places[0]))

    def require(self, name: object) -> type[T] | None:
        """The class of that name; None only for built-in ones without a class.

        Raises ValueError in the words a spec's author needs when nothing has that name, or it cannot be imported.
        """
        try:
            found = self.find(name) if isinstance(name, str) else None
        except SpecError as error:
            raise ValueError(error.problems[0].message) from error
        if found is None and name not in self.built_in:
            names = self.names()
            hint = other_word_for_type(self.noun, str(name)) or did_you_mean(str(name), names)
            hint = hint or f" Known {self.noun}s: {', '.join(names)}."
            raise ValueError(f"Unknown {self.noun} '{str(name)[:100]}'.{hint}")
        return found

    def names(self) -> list[str]:
        """All known names, built-in ones first, then by name. Imports none of them."""
        self._look()
        return [*self.built_in, *sorted((self._places.keys() | self._classes.keys()) - self.built_in.keys())]

    def shaping(self, name: str) -> dict[str, str]:
        """What a plug-in adds to fingerprints (V2): its package and version, or the ``values_version`` of its class.

        Nothing for what is built in, or was registered by a program.
        """
        place = self._places.get(name, [_Place("")])[0]
        if not place.package:
            return {}
        declared = getattr(self.find(name), "values_version", None)
        return {"plug_in": f"{place.package} {place.version if declared is None else declared}"}

    def add(self, name: str, path: str) -> None:
        """Makes a class known by where it is; imported on first use. A name that is taken keeps its first meaning."""
        if name not in self.built_in:
            self._places.setdefault(name, [_Place(path)])

    def add_class(self, name: str, cls: type[T]) -> None:
        """Makes a class known. Raises ValueError when another one has the name."""
        path = f"{cls.__module__}:{cls.__qualname__}"
        known = self._classes.get(name)
        if known is not None and f"{known.__module__}:{known.__qualname__}" != path:
            raise ValueError(f"{self.noun} '{name}' belongs to {known.__module__}.{known.__qualname__} already")
        if self.built_in.get(name, path) != path:
            raise ValueError(f"{self.noun} '{name}' is built in; choose another name for {path}")
        self._classes[name] = cls

    def _look(self) -> None:
        if self._has_looked:
            return
        self._has_looked = True
        for entry_point in _entry_points(self.group):
            if entry_point.name not in self.built_in:
                package = entry_point.dist
                place = _Place(entry_point.value, *((package.name, package.version) if package else ("?", "?")))
                claims = self._places.setdefault(entry_point.name, [])
                if place not in claims:  # a path may list one package twice
                    claims.append(place)

    def _imported(self, name: str, place: _Place) -> type[T]:
        module_name, _, class_name = place.path.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), class_name)
        except Exception as error:  # a plug-in's import may raise anything; it becomes a problem of the spec
            message = f"{self._title(name)} cannot be loaded from {place}: {type(error).__name__}: {error}"
            raise self._problem(message) from error
        base = _at(self._base)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise self._problem(f"{self._title(name)}: {place} is not a {base.__name__} class.")
        checked: type[T] = found
        return checked

    def _title(self, name: str) -> str:
        return f"{self.noun.capitalize()} '{name}'"

    @staticmethod
    def _problem(message: str) -> SpecError:
        return SpecError([Problem("", message)])


@functools.cache
def _entry_points(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=group))


def _at(path: str) -> Any:
    module_name, _, name = path.partition(":")
    return getattr(importlib.import_module(module_name), name)


COLUMN_TYPES: Registry[ColumnConfig] = Registry(
    "column type",
    "rowmill.spec.column:ColumnConfig",
    {
        "seed-dataset": "rowmill.generators.seed_dataset:SeedDatasetColumn",
        "sampler": "rowmill.generators.samplers.sampler:SamplerColumn",
        "expression": "rowmill.generators.expression:ExpressionColumn",
        "llm-text": "rowmill.generators.prompting.llm_text:LlmTextColumn",
        "llm-code": "rowmill.generators.prompting.llm_code:LlmCodeColumn",
        "llm-structured": "rowmill.generators.prompting.llm_structured:LlmStructuredColumn",
        "llm-judge": "rowmill.generators.prompting.llm_judge:LlmJudgeColumn",
        "embedding": "rowmill.generators.prompting.embedding:EmbeddingColumn",
        "image": "rowmill.generators.prompting.image:ImageColumn",
        "validation": "rowmill.generators.validation:ValidationColumn",
        "custom": "rowmill.generators.custom.column:CustomColumn",
        "deduplicate": "rowmill.generators.over_dataset:DeduplicateColumn",
        "rank": "rowmill.generators.over_dataset:RankColumn",
        "select": "rowmill.generators.over_dataset:SelectColumn",
    },
)
SAMPLERS: Registry[SamplerParameters] = Registry(
    "sampler",
    "rowmill.generators.samplers.parameters:SamplerParameters",
    {
        "category": "rowmill.generators.samplers.category_parameters:CategoryParameters",
        "subcategory": "rowmill.generators.samplers.category_parameters:SubcategoryParameters",
        "uniform": "rowmill.generators.samplers.parameters:UniformParameters",
        "gaussian": "rowmill.generators.samplers.parameters:GaussianParameters",
        "bernoulli": "rowmill.generators.samplers.parameters:BernoulliParameters",
        "binomial": "rowmill.generators.samplers.count_parameters:BinomialParameters",
        "poisson": "rowmill.generators.samplers.count_parameters:PoissonParameters",
        "uuid": "rowmill.generators.samplers.parameters:UuidParameters",
        "datetime": "rowmill.generators.samplers.parameters:DatetimeParameters",
        "timedelta": "rowmill.generators.samplers.parameters:TimedeltaParameters",
        "scipy": "rowmill.generators.samplers.distribution_parameters:ScipyParameters",
        "bernoulli_mixture": "rowmill.generators.samplers.distribution_parameters:BernoulliMixtureParameters",
        "person": "rowmill.generators.samplers.person_file:PersonParameters",
        "person_from_faker": "rowmill.generators.samplers.faker_person:FakerPersonParameters",
    },
)
SEED_READERS: Registry[SeedReader] = Registry(
    "seed reader",
    "rowmill.seeds.reader:SeedReader",
    dict.fromkeys(("local", "hf", "directory", "file_contents", "agent_rollout", "df", "run"), ""),
)
VALIDATORS: Registry[ValidatorParameters] = Registry(
    "validator",
    "rowmill.generators.validators.parameters:ValidatorParameters",
    {
        "code": "rowmill.generators.validators.parameters:CodeParameters",
        "local_callable": "rowmill.generators.validators.parameters:FunctionParameters",
        "remote": "rowmill.generators.validators.parameters:RemoteParameters",
        "json_schema": "rowmill.generators.validators.parameters:SchemaParameters",
        "sql": "rowmill.generators.validators.parameters:SqlParameters",
    },
)
PROCESSORS: Registry[ProcessorConfig] = Registry(
    "processor",
    "rowmill.spec.processor:ProcessorConfig",
    {
        "drop_columns": "rowmill.spec.processor:DropColumnsProcessor",
        "schema_transform": "rowmill.spec.processor:SchemaTransformProcessor",
        "split": "rowmill.spec.processor:SplitProcessor",
    },
)
PROVIDERS: Registry[ProviderPlugIn] = Registry(
    "provider",
    "rowmill.providers.protocol:ProviderPlugIn",
    dict.fromkeys(("openai", "anthropic", "simulated"), ""),
)
REGISTRIES: tuple[Registry[Any], ...] = (COLUMN_TYPES, SAMPLERS, SEED_READERS, VALIDATORS, PROCESSORS, PROVIDERS)
"""All kinds there are."""


def register_column_type(cls: _Class) -> _Class:
    """Makes a column type known under the default of its ``column_type`` field. A class decorator.

    Raises ValueError when the class has no such default or another class has the name.
    """
    column_class: type[ColumnConfig] = cls
    name = column_class.model_fields["column_type"].default
    if not isinstance(name, str) or not name:
        raise ValueError(f"{cls.__name__} needs a default: column_type: Literal['my-type'] = 'my-type'")
    COLUMN_TYPES.add_class(name, cls)
    return cls
