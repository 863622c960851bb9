"""The writer's thread: beside the event loop, or while that stands still."""

from __future__ import annotations

import threading
import time

import anyio
import anyio.lowlevel
import pytest

from rowmill.engine import writer
from rowmill.engine.event_loop import run_on_event_loop
from rowmill.engine.writer import WriterThread


async def _steps_of_the_loop(*, alone: bool, seconds: float) -> tuple[int, str]:
    """How often another task of the loop gets its turn while the writer works for so long, and where that was."""
    steps = 0

    async def go_on() -> None:
        nonlocal steps
        while True:
            await anyio.lowlevel.checkpoint()
            steps += 1

    def work() -> tuple[int, str]:
        before = steps
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.001)
        return steps - before, threading.current_thread().name

    async with WriterThread() as thread, anyio.create_task_group() as group:
        group.start_soon(go_on)
        await anyio.lowlevel.checkpoint()
        found = await (thread.call_alone if alone else thread.call)(work)
        group.cancel_scope.cancel()
    return found


def test_the_event_loop_goes_on_while_the_writer_works() -> None:
    steps, name = run_on_event_loop(lambda: _steps_of_the_loop(alone=False, seconds=0.02))
    assert steps > 5
    assert name == "rowmill-writer"


def test_the_event_loop_stands_still_for_what_is_to_be_done_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_LONGEST_STAND_S", 60.0)
    steps, name = run_on_event_loop(lambda: _steps_of_the_loop(alone=True, seconds=0.02))
    assert steps == 0
    assert name == "rowmill-writer"


def test_the_event_loop_stands_still_for_a_bounded_time() -> None:
    """Calls have time-outs, and their answers are to be read."""
    steps, _ = run_on_event_loop(lambda: _steps_of_the_loop(alone=True, seconds=0.5))
    assert steps > 5


def test_the_event_loop_does_not_stand_still_for_what_goes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has heard of that the thread does nothing else: both would wait for each other."""
    monkeypatch.setattr(writer, "_LONGEST_STAND_S", 60.0)

    async def work() -> float:
        async with WriterThread() as thread, anyio.create_task_group() as group:
            group.start_soon(thread.call, lambda: time.sleep(0.02))
            await anyio.lowlevel.checkpoint()
            started_at = time.monotonic()
            await thread.call_alone(lambda: None)
        return time.monotonic() - started_at

    assert run_on_event_loop(work) < 10


def test_errors_of_what_is_done_alone_are_raised() -> None:
    def fail() -> None:
        raise LookupError("gone")

    async def work() -> None:
        async with WriterThread() as thread:
            await thread.call_alone(fail)

    with pytest.raises(LookupError, match="gone"):
        run_on_event_loop(work)
