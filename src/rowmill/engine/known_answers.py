"""Looking up kept answers without a statement each: what is asked while one look-up waits is the next one.

They are looked for in the run database, and then in the directory several runs share, if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from anyio.lowlevel import checkpoint

from rowmill.engine.writer import StoreWriter
from rowmill.generators.prompting.answer_directory import AnswerDirectory
from rowmill.store.run_store import RunStore
from rowmill.store.turn.answers import find_answers
from rowmill.store.turn.attempts import answers_to_keep
from rowmill.task import Outcome

_MOST = 256
"""Answers in one look-up."""


class AnswerLookup:
    """The :class:`~rowmill.generators.prompting.answer_reuse.KnownAnswers` of an open run database.

    The event loop never waits for the database: look-ups are made on the writer's thread between two turns. Whoever
    asks first asks for all who came meanwhile.
    """

    def __init__(self, store: RunStore, writer: StoreWriter, shared: AnswerDirectory | None = None) -> None:
        self._store = store
        self._writer = writer
        self._shared = shared
        self._waiting: dict[int, list[_Asked]] = {}
        self._is_asking = False

    async def find(self, keys: Sequence[int]) -> dict[int, str]:
        """See :class:`~rowmill.generators.prompting.answer_reuse.KnownAnswers`."""
        all_asked = {key: _Asked() for key in keys}
        for key, asked in all_asked.items():
            self._waiting.setdefault(key, []).append(asked)
        found = {key: await self._answer(asked) for key, asked in all_asked.items()}
        return {key: answer for key, answer in found.items() if answer is not None}

    async def keep(self, outcomes: Sequence[Outcome]) -> None:
        """Puts the answers of outcomes that were just committed into the shared directory, if there is one."""
        if self._shared is None:
            return
        answers = dict(answer for outcome in outcomes for answer in answers_to_keep(outcome))
        if answers:
            await self._writer.call(self._shared.keep, answers)

    async def _answer(self, asked: _Asked) -> str | None:
        while not asked.is_answered:
            if self._is_asking:
                await asked.event.wait()
                if not asked.is_answered:
                    asked.event = anyio.Event()
                continue
            await self._ask()
        if asked.error is not None:
            raise asked.error
        return asked.answer

    def _look_up(self, keys: Sequence[int]) -> dict[int, str]:
        found = find_answers(self._store.connection, keys)
        if self._shared is not None:
            found |= self._shared.find([key for key in keys if key not in found])
        return found

    async def _ask(self) -> None:
        self._is_asking = True
        batch: dict[int, list[_Asked]] = {}
        try:
            await checkpoint()  # lets those who are about to ask join
            batch = {key: self._waiting.pop(key) for key in list(self._waiting)[:_MOST]}
            found = await self._writer.call(self._look_up, list(batch))
            for key, many in batch.items():
                for asked in many:
                    asked.answer = found.get(key)
                    asked.is_answered = True
        except Exception as error:  # every one of them learns of it
            for asked in (asked for many in batch.values() for asked in many):
                asked.error, asked.is_answered = error, True
            raise
        finally:
            self._is_asking = False
            # Those of the batch have their answer; of the others one asks next, also if this one was cancelled.
            for many in (*batch.values(), *self._waiting.values()):
                for asked in many:
                    asked.event.set()


class _Asked:
    __slots__ = ("answer", "error", "event", "is_answered")

    def __init__(self) -> None:
        self.answer: str | None = None
        self.error: Exception | None = None
        self.event = anyio.Event()
        self.is_answered = False
