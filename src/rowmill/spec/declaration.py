"""What a column says of itself: inputs, outputs, strategy. The graph is built from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from rowmill.spec.spec import Spec


class Strategy(StrEnum):
    """How a generator is called."""

    CELL = "cell"
    """One task a row (a call may take several ready rows)."""
    BATCH = "batch"
    """One task a row group."""
    DATASET = "dataset"
    """One task over all rows: a true barrier."""
    SQL = "sql"
    """Never a task: evaluated set-wise inside the turn."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A column that is needed, and the place in the spec that names it (``columns.3.prompt``)."""

    name: str
    place: str
    row_columns: tuple[str, ...] = ()
    """Where ``name`` is ``row`` and no column is called so: the columns that ``row["…"]`` means."""


class Naming(Protocol):
    """What names columns of the row: a template, or a condition."""

    @property
    def references(self) -> tuple[str, ...]:
        """The names, in order of first use."""
        ...

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns it names as ``row["…"]``."""
        ...


def named_in(naming: Naming, place: str) -> tuple[Reference, ...]:
    """The columns a template at that place of the spec names."""
    return tuple(Reference(name, place, naming.row_columns if name == "row" else ()) for name in naming.references)


@dataclass(frozen=True, slots=True)
class Output:
    """A column a generator makes. ``sql_type`` is a DuckDB type (``VARCHAR``, ``BIGINT``, …)."""

    name: str
    sql_type: str
    side_effect: bool = False
    drop: bool = False


@dataclass(frozen=True, slots=True)
class ColumnValue:
    """An argument of a :class:`SamplerCall` that is the value of another column of the row."""

    name: str


@dataclass(frozen=True, slots=True)
class SamplerCall:
    """A call of one of our own SQL macros (``sql/functions/``).

    The store renders it as ``function(seed, column, row_id, *arguments)``. Arguments are plain
    Python values (None, bool, int, float, str, datetime, lists and dicts of those) or
    :class:`ColumnValue`; the store writes them as SQL literals.
    """

    function: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class SqlExpression:
    """A user's SQL expression over the columns of one row, in DuckDB's dialect."""

    text: str
    place: str
    judged: tuple[tuple[str, ...], ...] = ()
    """Of a verdict: the columns, and fields of columns, it speaks of."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a sampled value must be: below (``lt``, ``le``) or above (``gt``, ``ge``) a plain value or a column's."""

    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class SampledValue:
    """A sampler with conditions, bounds or a conversion.

    The call of the last condition that holds makes the value, ``call`` where none does. It is drawn again, up to
    ``attempts`` times in all, until every bound holds; a bound whose other side is null holds.
    """

    call: SamplerCall
    cases: tuple[tuple[SqlExpression, SamplerCall], ...] = ()
    sql_type: str = "DOUBLE"
    """Of the value that is compared with the bounds."""
    rounded: bool = False
    """Half to even, to a whole number, before that."""
    bounds: tuple[Bound, ...] = ()
    attempts: int = 1
    unmet: str = ""
    """What to say of a row whose bounds were never met."""
    strftime: str | None = None
    """The format a moment is written in, after all else."""
    can_fail: bool = False
    """Whether there can be a row without a value: a condition that fails, a bound that is not met."""


@dataclass(frozen=True, slots=True)
class UnformattedValue:
    """An argument of a :class:`SamplerCall` or :class:`Bound`: what a sampler column held before it became text."""

    column: str
    source: SamplerCall | SampledValue


@dataclass(frozen=True, slots=True)
class SeedColumn:
    """The value of a column of the seed dataset."""

    name: str


ModelUse = Literal["chat", "embedding", "image"]
"""What a model is asked for."""

SqlSource = SamplerCall | SampledValue | SqlExpression | SeedColumn


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """Of rows that are equal in ``columns``, the first one stays; the others are dropped as ``duplicate``."""

    columns: tuple[str, ...]
    normalize: frozenset[str]
    """What does not count when texts are compared: ``case``, ``whitespace``, ``punctuation``, ``accents``."""
    order_by: SqlExpression | None
    """Which row comes first; ties, and all without it, by row_id."""


@dataclass(frozen=True, slots=True)
class ValueOverDataset:
    """A value for every row: an SQL expression that may look at all rows through window functions."""

    expression: SqlExpression


@dataclass(frozen=True, slots=True)
class KeepOfDataset:
    """Rows for which an SQL predicate over the dataset is true stay; the others are dropped as ``filtered``."""

    predicate: SqlExpression
    message: str
    """Why a row was dropped, for people."""


DatasetSql = Deduplicate | ValueOverDataset | KeepOfDataset
"""What a barrier does that is evaluated in the database."""


def dataset_expressions(source: DatasetSql | None) -> tuple[SqlExpression, ...]:
    """The users' SQL in what a barrier does; each is an expression over the dataset by itself."""
    if isinstance(source, Deduplicate):
        return () if source.order_by is None else (source.order_by,)
    if isinstance(source, ValueOverDataset):
        return (source.expression,)
    return () if source is None else (source.predicate,)


@dataclass(frozen=True, slots=True)
class RegenerationRule:
    """Rows a generator finds invalid are made again: what makes ``targets``, and all that follows from it."""

    targets: tuple[str, ...]
    at_most: int
    """How often, for each row."""
    then_drops: bool
    """A row that is still not valid then is dropped; otherwise it stays, with the verdict."""


@dataclass(frozen=True, slots=True)
class SkipRule:
    """``skip.when`` as either a Jinja template or an SQL predicate; exactly one is set (S1)."""

    template: str | None
    sql: str | None
    value: Any
    inputs: tuple[Reference, ...]
    place: str
    on_error: str = "drop"
    """What an error in the rule means for its row: drop, skip, or stop the run (S4)."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """All the graph, the store and ``rowmill plan`` need to know of one generator."""

    name: str
    """The generator's name: that of its first column."""
    column_type: str
    place: str
    inputs: tuple[Reference, ...]
    outputs: tuple[Output, ...]
    strategy: Strategy
    reason: str
    """Why this strategy, for people: ``one request a row``."""
    resource: str | None = None
    """What a task occupies while it runs. None for ``sql`` generators. See :data:`LOCAL`, :data:`THREADS`."""
    max_rows_per_call: int = 1
    timeout_s: float | None = None
    """Deadline of one attempt, seconds; None: no deadline."""
    may_drop_rows: bool = False
    """A ``batch`` or ``dataset`` generator may return fewer rows: the missing ones are dropped as ``filtered`` (R5)."""
    drops_invalid: bool = False
    """Rows it finds invalid are dropped with that reason: its value is a verdict with ``is_valid``."""
    judges: tuple[str, ...] = ()
    """The columns its verdict is about; empty: it gives none."""
    regeneration: RegenerationRule | None = None
    """Rows it finds invalid are made again: its value is a verdict with ``is_valid``."""
    can_answer_differently: bool = False
    """Asked again with the same inputs, it may make another value: that is what regenerating is for."""
    max_attempts: int | None = None
    """Tries of a transiently failing task; None: the run's."""
    backoff_base_s: float | None = None
    """Wait after the first transient failure, seconds; None: the run's."""
    is_ordered: bool = False
    """One row group at a time, lowest unfinished first, with state handed from call to call (R10)."""
    weight: float = 1.0
    """Its share of its resource relative to other generators (C4)."""
    models: Mapping[str, ModelUse] = field(default_factory=dict)
    """The aliases of the models it asks, and for what."""
    sql: SqlSource | None = None
    dataset_sql: DatasetSql | None = None
    """Of a ``dataset`` generator that is evaluated in the database; None: its task calls the generator."""
    requires: tuple[Reference, ...] = ()
    """Columns that must be there first although the generator does not read them."""
    skip: SkipRule | None = None
    propagate_skip: bool = True
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    """Everything that shapes the values (V2), as plain JSON values; not parallelism, not time-outs."""
    source_sha256: str | None = None
    """Of the file of its function. Run databases of an older Rowmill know it in place of ``code_sha256``."""


LOCAL = "local"
"""Resource of work done on the event loop: async functions, templates."""
THREADS = "local/threads"
"""Resource of sync functions, run in worker threads."""
LOCAL_RESOURCES = frozenset({LOCAL, THREADS})
"""They never cool down: a function that is rate limited waits alone."""


@dataclass(frozen=True, slots=True)
class SqlAnalysis:
    """What parsing a user's SQL expression told: the columns it names, or why it is refused."""

    columns: tuple[str, ...]
    problem: str | None = None
    references: tuple[tuple[str, ...], ...] = ()
    """The columns as it names them, with the fields of structures: ``("judge", "politeness", "score")``."""


class DeclareContext(Protocol):
    """What a column may ask while it declares itself."""

    @property
    def spec(self) -> Spec:
        """The whole spec."""
        ...

    @property
    def index(self) -> int:
        """The column's position in ``spec.columns``, for places."""
        ...

    @property
    def spec_directory(self) -> Path | None:
        """Where ``module:function`` names start to be looked for; None: only what is installed."""
        ...

    def analyse_sql(self, text: str, *, over_dataset: bool = False) -> SqlAnalysis:
        """Parses an SQL expression without running it: a scalar one, or one with window functions ``over_dataset``."""
        ...

    def problem(self, place: str, message: str) -> None:
        """Records something wrong with the spec; declaring goes on so that all problems are found."""
        ...

    def judge(self, place: str, message: str) -> None:
        """The same for what a spec that was accepted before may go on saying, as it does run (V6)."""
        ...

    def endpoint(self, model_alias: str, place: str) -> str | None:
        """The resource name of a model's endpoint; records a problem if there is no such alias."""
        ...
