"""Making vectors: many texts a request, and no text rejected for the fault of its neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Protocol

import anyio
import anyio.to_thread

from rowmill.counted import plural
from rowmill.errors import GeneratorError, Rejected, RunStopping
from rowmill.generators.custom.function import CustomFunction
from rowmill.generators.custom.uncommon import is_uncommon, is_uncommon_of_coroutine
from rowmill.generators.protocol import Call, CellGenerator
from rowmill.source_line import said_by
from rowmill.task import Row

_LARGEST = 3.4028235677973366e38
"""What is at least this is infinite as a 32-bit float."""
_NO_VECTOR = (str, bytes, Mapping, Set)
"""What can be gone through, and is no vector, nor a list of them: mappings give their keys, sets no order."""


class Vectors(Protocol):
    """Makes the vectors of some texts, all or none."""

    async def __call__(self, texts: Sequence[str], call: Call) -> Sequence[Sequence[float]]:
        """One vector for each text, in their order."""
        ...


class EmbeddingFunction:
    """A user's function from texts to vectors, on the event loop if it is async, else in a worker thread."""

    def __init__(self, column: str, function: CustomFunction) -> None:
        self._column = column
        self._function = function
        self._limiter: anyio.CapacityLimiter | None = None

    async def __call__(self, texts: Sequence[str], call: Call) -> Sequence[Sequence[float]]:
        """See :class:`Vectors`."""
        if self._function.is_async:
            result = await self._guarded_await(texts)
        else:
            if self._limiter is None:
                self._limiter = anyio.CapacityLimiter(math.inf)  # how many run at once is the dispatcher's to say
            result = await anyio.to_thread.run_sync(self._guarded, texts, abandon_on_cancel=True, limiter=self._limiter)
        return self._vectors(result, len(texts))

    async def _guarded_await(self, texts: Sequence[str]) -> Any:
        try:
            return await self._function.function(list(texts))
        except BaseException as error:
            if not is_uncommon_of_coroutine(error):
                raise
            raise self._broken(f"raised {type(error).__name__}: {said_by(error)}") from error

    def _guarded(self, texts: Sequence[str]) -> Any:
        try:
            return self._function.function(list(texts))
        except BaseException as error:
            if not is_uncommon(error):
                raise
            raise self._broken(f"raised {type(error).__name__}: {said_by(error)}") from error

    def _vectors(self, result: Any, texts: int) -> Sequence[Sequence[float]]:
        result = result.tolist() if hasattr(result, "tolist") else result
        try:
            vectors = [vector.tolist() if hasattr(vector, "tolist") else vector for vector in result]
        except TypeError as error:
            raise self._broken(f"must return a list of vectors, not {type(result).__name__}.") from error
        strange = [one for one in (result, *vectors) if isinstance(one, _NO_VECTOR) or not isinstance(one, Iterable)]
        if strange:
            raise self._broken(f"must return a list of vectors; a {type(strange[0]).__name__} is none.")
        vectors = [list(vector) for vector in vectors]
        if len(vectors) != texts:
            raise self._broken(f"returned {plural(len(vectors), 'vector')} for {plural(texts, 'text')}.")
        return vectors

    def _broken(self, what: str) -> GeneratorError:
        return GeneratorError(f"'{self._function.reference}' of column '{self._column}' {what}")


class EmbeddingGenerator(CellGenerator):
    """The vectors of a column's texts."""

    def __init__(self, column: str, target: str, length: int | None, vectors: Vectors) -> None:
        """``length``: of each vector; None takes any."""
        self._column = column
        self._target = target
        self._length = length
        self._vectors = vectors

    async def generate(self, row: Row, call: Call) -> Sequence[Any]:
        """The vector of one row."""
        (values,) = await self.generate_rows([row], call)
        if isinstance(values, Exception):
            raise values
        return values

    async def generate_rows(self, rows: Sequence[Row], call: Call) -> Sequence[Sequence[Any] | Exception]:
        """The vectors of all rows in one request. If that is rejected, in two of half the rows, and so on."""
        results: list[Sequence[Any] | Exception] = [(None,)] * len(rows)
        places = []
        for place, row in enumerate(rows):
            value = row[self._target]
            if isinstance(value, str):
                places.append(place)
            elif value is not None:
                kind = type(value).__name__
                results[place] = GeneratorError(
                    f"Column '{self._column}' makes vectors of texts; '{self._target}' is {kind} for this row. "
                    "Make a text of it first, with a column of type expression.",
                    "NotText",
                )
        if places:
            await self._fill(results, rows, places, call)
        return results

    async def _fill(
        self, results: list[Sequence[Any] | Exception], rows: Sequence[Row], places: Sequence[int], call: Call
    ) -> None:
        try:
            vectors = await self._vectors([rows[place][self._target] for place in places], call)
        except RunStopping:
            raise
        except Rejected as error:
            if len(places) == 1:
                results[places[0]] = error
                return
            half = len(places) // 2
            await self._fill(results, rows, places[:half], call)
            await self._fill(results, rows, places[half:], call)
            return
        for place, vector in zip(places, vectors, strict=True):
            results[place] = (self._checked(vector),)

    def _checked(self, vector: Sequence[float]) -> Sequence[float]:
        if self._length is not None and len(vector) != self._length:
            raise RunStopping(
                f"The vectors of column '{self._column}' have {plural(len(vector), 'dimension')}, and its "
                f"'dimensions' say "
                f"{self._length}. Correct the spec",
                "WrongDimensions",
            )
        if not all(map(_fits, vector)):
            raise GeneratorError(f"A vector of column '{self._column}' holds what is no 32-bit float.", "TypeMismatch")
        return vector


def _fits(number: Any) -> bool:
    return isinstance(number, float | int) and not isinstance(number, bool) and -_LARGEST < number < _LARGEST
