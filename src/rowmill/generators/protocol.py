"""What a generator is to the rest of Rowmill: rows in, values out, typed errors.

A generator holds no state that matters for resume; it may be called again for the same row after a
crash. It raises provider errors as they come; any other exception rejects its row (F3).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from rowmill.generators.file_directory import FileDirectory
from rowmill.providers.mcp_tools import Tool
from rowmill.providers.protocol import ChatAnswer, ImageAnswer
from rowmill.spec.model import ModelConfig
from rowmill.spec.spec import Spec
from rowmill.task import Request, Row


class UnusableAnswer(Exception):
    """An answer that is not what was asked for. The message tells the model what to do about it.

    ``error_type`` names the kind of fault: ``OutputLimit`` for an answer that was cut off at its limit, ``NoAnswer``
    for thoughts without one.
    """

    def __init__(self, message: str, error_type: str = "UnusableAnswer") -> None:
        self.error_type = error_type
        super().__init__(message)


class Call:
    """One call of a generator: who it is for, and the requests made on its behalf.

    ``row_ids`` and ``row_group`` say which rows, ``column`` which generator, ``regenerations`` how often each row's
    value was made before and found invalid, ``deferrals`` how often the call was made before and put off; ``requests``
    fills while the call runs and becomes rows of ``attempt`` whether the call succeeds or not.
    """

    __slots__ = ("column", "deferrals", "regenerations", "requests", "row_group", "row_ids")

    def __init__(
        self,
        row_group: int,
        row_ids: Sequence[int],
        column: str = "",
        regenerations: Sequence[int] = (),
        deferrals: int = 0,
    ) -> None:
        self.row_group = row_group
        self.row_ids = row_ids
        self.column = column
        self.regenerations = regenerations
        self.deferrals = deferrals
        self.requests: list[Request] = []

    @property
    def draw_id(self) -> int:
        """What is drawn for this call is drawn for this number: its first row, or the row group of a batch."""
        return self.row_ids[0] if self.row_ids else self.row_group

    @property
    def regeneration(self) -> int:
        """0 for values made for the first time; no two makings of a value have the same number."""
        return sum(self.regenerations)

    @property
    def occasion(self) -> str:
        """Which request of the run the next one is: it has the same one in every process, and after a resume."""
        return f"{self.column}\0{self.draw_id}\0{self.deferrals}\0{len(self.requests)}"

    def for_row(self, position: int) -> Call:
        """The part of the call that is about one of its rows; its requests are those of the call."""
        here = slice(position, position + 1)
        part = Call(self.row_group, self.row_ids[here], self.column, self.regenerations[here], self.deferrals)
        part.requests = self.requests
        return part

    def mark_unusable(self, error_type: str, message: str) -> None:
        """Notes of the last request that what it brought could not be used; it is not kept."""
        last = self.requests[-1]
        self.requests[-1] = last._replace(error_type=error_type, message=message, answers=())


class Lasting:
    """What is made ready before its first call, and let go of after its last: once an invocation, or once a worker."""

    async def aopen(self) -> None:
        """Gets what its calls need. By itself it needs nothing. What it raises stops the run."""
        return

    async def aclose(self) -> None:
        """Lets go of what it holds open. Called whether it was opened or not; by itself it holds nothing."""
        return


class CellGenerator(Lasting, ABC):
    """Makes the outputs of one row from the row's inputs."""

    @abstractmethod
    async def generate(self, row: Row, call: Call) -> Sequence[Any]:
        """Returns one value per declared output, in their order."""

    async def generate_rows(self, rows: Sequence[Row], call: Call) -> Sequence[Sequence[Any] | Exception]:
        """Several rows in one call, used when ``max_rows_per_call`` > 1: per row its values or its error.

        Override it where one call can do many rows for less; errors of single rows are returned,
        an error of the whole call is raised.
        """
        results: list[Sequence[Any] | Exception] = []
        for position, row in enumerate(rows):
            try:
                results.append(await self.generate(row, call.for_row(position)))
            except Exception as error:  # noqa: BLE001  recorded: becomes this row's outcome, classified by type
                results.append(error)
        return results


class BatchGenerator(Lasting, ABC):
    """Makes the outputs of all live rows of a row group in one call."""

    @abstractmethod
    async def generate_batch(self, rows: pa.Table, call: Call) -> pa.Table:
        """Takes ``row_index``, ``row_id`` and the input columns; returns ``row_index`` and the outputs (R5)."""

    async def generate_in_order(self, rows: pa.Table, state: Any, call: Call) -> tuple[pa.Table, Any]:
        """The same, with what the call for the row group before returned as its state (R10).

        Override it in a generator whose declaration says ``is_ordered``. ``state`` is None at first; what is returned
        with the table must be plain JSON values, is committed with the result and handed back, also after a crash.
        """
        return await self.generate_batch(rows, call), state


class DatasetRows(Protocol):
    """The rows a generator over the whole dataset looks at: ``row_id`` and its input columns, in ``row_id`` order.

    They are read from the run database slice by slice; memory holds all of them only if they are asked for at once.
    """

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        ...

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        ...

    @property
    def spool_directory(self) -> Path | None:
        """Where a large result may be kept until it is written; None: anywhere."""
        ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as record batches; may be called again. Reads the database: not on the event loop."""
        ...

    def reader(self) -> pa.RecordBatchReader:
        """The same as an Arrow stream."""
        ...

    def table(self) -> pa.Table:
        """All rows at once."""
        ...


class DatasetGenerator(Lasting, ABC):
    """Makes its outputs by looking at all rows at once: a barrier (R6). Its declaration's strategy is ``dataset``."""

    @abstractmethod
    async def generate_dataset(self, rows: DatasetRows, call: Call) -> pa.Table | pa.RecordBatchReader:
        """Returns ``row_id`` and the outputs, in any order; rows left out are dropped if the declaration allows it.

        What it raises, or a result that does not fit, stops the run; no row is dropped for it.
        """


Generator = CellGenerator | BatchGenerator | DatasetGenerator


class Model(Protocol):
    """A model of the spec, ready to be asked. Journals each request into the call."""

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        ...

    async def chat(
        self, messages: Sequence[Mapping[str, Any]], call: Call, parameters: Mapping[str, Any] | None = None
    ) -> ChatAnswer:
        """One chat completion; ``parameters`` override the model's inference parameters."""
        ...

    async def embed(self, texts: Sequence[str], call: Call) -> Sequence[Sequence[float]]:
        """The vectors of some texts, in one request."""
        ...

    async def draw(self, prompt: str, parts: Sequence[Mapping[str, Any]], call: Call) -> ImageAnswer:
        """One picture; ``parts`` are pictures to start from."""
        ...


class Toolbox(Protocol):
    """The tools of a ``tool_alias``, ready to be called."""

    @property
    def definitions(self) -> Sequence[Tool]:
        """What a model is told of them."""
        ...

    @property
    def max_turns(self) -> int:
        """Answers in a row that may call tools."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What a tool says, its errors included. Raises :class:`~rowmill.errors.Transient` if it is out of reach."""
        ...


class Runtime(Protocol):
    """What a column may ask for when it is bound for an invocation."""

    @property
    def spec_directory(self) -> Path:
        """Where relative paths and ``module:function`` names of the spec start."""
        ...

    @property
    def files(self) -> FileDirectory:
        """Where files a run makes are kept, beside its run database."""
        ...

    @property
    def spec(self) -> Spec:
        """The whole spec; what a generator draws is a function of its seed, the column and the row_id (V1)."""
        ...

    @property
    def arrow_types(self) -> Mapping[str, pa.DataType]:
        """The Arrow type in which the engine hands over each column of the spec."""
        ...

    @property
    def casts_values(self) -> bool:
        """Whether the run keeps to an older rule: what does not fit its column's type is rounded or cut to it."""
        ...

    def model(self, alias: str) -> Model:
        """The model of that alias."""
        ...

    def toolbox(self, alias: str) -> Toolbox:
        """The tools of that alias."""
        ...
