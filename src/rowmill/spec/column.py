"""The base of every column type's configuration.

A column type is one module of ``rowmill.generators``: a subclass of :class:`ColumnConfig` with its
fields, :meth:`~ColumnConfig.declare` for the graph and, unless its strategy is ``sql``,
:meth:`~ColumnConfig.bind` for the work, registered under its ``column_type``
(:func:`rowmill.spec.registry.register_column_type`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rowmill.spec.declaration import Declaration, DeclareContext
from rowmill.spec.name import column_name_problem

if TYPE_CHECKING:
    Items = Sequence
else:

    class Items:
        """The type of a field that holds several values: given as a list or any sequence, kept as a tuple."""

        def __class_getitem__(cls, item: Any) -> Any:
            return tuple[item, ...]


class StrictModel(BaseModel):
    """A part of the spec: unknown fields are errors, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _leaves_notes_alone(cls, data: Any) -> Any:
        """Fields that begin with ``x-`` are the author's own: anchors of YAML, remarks."""
        if isinstance(data, dict) and any(isinstance(key, str) and key.startswith("x-") for key in data):
            return {key: value for key, value in data.items() if not (isinstance(key, str) and key.startswith("x-"))}
        return data

    @classmethod
    def field_model(cls, field: str, data: Mapping[str, Any]) -> type[BaseModel] | None:
        """The model of a field, or of a mapping's values, where its class depends on other fields; for messages."""
        return None


class SkipConfig(StrictModel):
    """When not to make a cell, and what it holds instead.

    ``when`` is a Jinja template (it contains ``{{`` or ``{%``; skipped when it renders to a true
    value) or otherwise an SQL predicate over the row.
    """

    when: str
    """SQL (``weather = 'storm'``), or Jinja if it contains ``{{`` or ``{%``; columns evaluated in the database
    (samplers, ``sql``) take SQL only. In Jinja, an empty text, ``false``, ``0`` and ``none`` mean: do not skip."""
    value: Any = None
    """What a skipped cell holds."""
    on_error: Literal["drop", "skip", "stop"] = "drop"
    """When ``when`` fails for a row: ``drop`` the row, ``skip`` the cell, or ``stop`` the run (S4)."""


class ColumnConfig(StrictModel):
    """What every column has: a name, whether the dataset keeps it, and when to skip it."""

    name: str = Field(min_length=1, max_length=255)
    """Not ``row_id``, ``row_group``, ``row_index``, which other columns cannot use (only ``rank`` and ``custom``
    functions that take a table have ``row_id``). In Jinja, names are case-sensitive; in SQL they are not, and unusual
    ones are ``"quoted"``."""
    column_type: str
    """One of the types on this page, or of a plug-in."""
    drop: bool = False
    """Generate it for other columns, but leave it out of the dataset, with its side effects."""
    skip: SkipConfig | None = None
    """When not to make a cell, and what it holds instead: ``{when, value, on_error}``."""
    propagate_skip: bool = True
    """Skip this cell, too, when a column it needs was skipped, whatever ``skip.value`` that one holds. Columns named
    only in ``skip.when`` do not count (S2)."""
    requires: Items[str] = ()
    """Columns that must be made first although this one does not read them, for example a ``deduplicate`` before paid
    columns."""
    weight: float = Field(default=1.0, gt=0, le=1_000_000, allow_inf_nan=False)
    """Its share of its endpoint or worker pool relative to other columns, when they compete (C4)."""
    worker_group: str = Field(default="default", min_length=1)
    """The group of workers that makes it, one of ``run.executor.groups``; see [scaling](scaling.md). Without workers
    elsewhere it means nothing."""

    @field_validator("name", mode="after")
    @classmethod
    def _name_is_allowed(cls, value: str) -> str:
        problem = column_name_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    def declare(self, context: DeclareContext) -> Declaration:
        """Says what this column needs, makes and how it is called. Never does I/O on data."""
        raise NotImplementedError(type(self).__name__)

    def companions(self, context: DeclareContext) -> Sequence[Declaration]:
        """Further generators this column's own one needs, each with columns of its own; most have none."""
        return ()

    def own_resources(self) -> dict[str, int]:
        """Resources of its own, beside models and local workers, and how many of its tasks each takes at once."""
        return {}

    def bind(self, runtime: Any) -> Any:
        """Makes the generator that does the work (``rowmill.generators.protocol``) for one invocation."""
        raise NotImplementedError(type(self).__name__)
