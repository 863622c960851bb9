"""The event loop of a run: few ready sockets at a time, in the order in which they got ready."""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import anyio
import anyio.lowlevel
import pytest
import trio

from rowmill.engine import event_loop
from rowmill.engine.event_loop import PatientSelector, run_on_event_loop
from rowmill.engine.loop_clock import idle_clock

PAIRS = 30


@pytest.fixture
def selector() -> Iterator[PatientSelector]:
    with PatientSelector() as made:
        yield made


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Sockets, each with the one at its other end."""
    with ExitStack() as stack:
        made = [socket.socketpair() for _ in range(PAIRS)]
        for one, other in made:
            stack.enter_context(one)
            stack.enter_context(other)
        yield made


def _all_ready(selector: PatientSelector, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    for number, (one, other) in enumerate(pairs):
        selector.register(one.fileno(), selectors.EVENT_READ, number)
        other.send(b"x")


def _numbers(found: list[tuple[selectors.SelectorKey, int]]) -> list[int]:
    return [key.data for key, _ in found]


def test_few_at_a_time_and_nobody_twice_before_all_others(
    selector: PatientSelector, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    _all_ready(selector, pairs)
    seen: list[int] = []
    while len(seen) < PAIRS:  # nothing is read: all stay ready
        few = _numbers(selector.select(0))
        assert 0 < len(few) <= event_loop._READY_AT_A_TIME
        seen += few
    assert sorted(seen) == list(range(PAIRS))


def test_who_was_taken_out_or_changed_meanwhile_is_not_reported_as_it_was(
    selector: PatientSelector, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    _all_ready(selector, pairs)
    gone = set(range(PAIRS)) - set(_numbers(selector.select(0)))
    changed = gone.pop()
    for number in gone:
        selector.unregister(pairs[number][0].fileno())
    selector.modify(pairs[changed][0].fileno(), selectors.EVENT_READ, "changed")
    reported = [key.data for _ in range(2 * PAIRS) for key, _ in selector.select(0)]
    assert changed not in reported
    assert "changed" in reported
    assert not gone & set(reported)


def test_waits_only_if_nothing_is_ready(selector: PatientSelector) -> None:
    assert selector.select(0) == []
    assert selector.idle_s == 0.0
    assert selector.select(0.01) == []
    assert 0.005 < selector.idle_s < 5.0


def test_the_first_of_many_answers_is_answered_before_the_last_one_is_read() -> None:
    """That is what keeps requests apart: on asyncio's own event loop all are read first."""

    async def order_of_events() -> list[str]:
        loop = asyncio.get_running_loop()
        events: list[str] = []
        with ExitStack() as stack:
            ends = [socket.socketpair() for _ in range(PAIRS)]
            for one, other in ends:
                stack.enter_context(one)
                stack.enter_context(other)
                one.setblocking(False)

            async def answer(one: socket.socket) -> None:
                await loop.sock_recv(one, 1)
                events.append("read")
                await anyio.lowlevel.checkpoint()
                events.append("sent")

            async with anyio.create_task_group() as group:
                for one, _ in ends:
                    group.start_soon(answer, one)
                await anyio.wait_all_tasks_blocked()
                for _, other in ends:
                    other.send(b"x")
        return events

    events = run_on_event_loop(order_of_events)
    assert events.index("sent") < PAIRS - 1
    assert asyncio.run(order_of_events()).index("sent") == PAIRS


def test_returns_and_raises_what_the_function_does() -> None:
    async def seven() -> int:
        await anyio.lowlevel.checkpoint()
        return 7

    async def fail() -> None:
        raise LookupError("gone")

    assert run_on_event_loop(seven) == 7
    with pytest.raises(LookupError, match="gone"):
        run_on_event_loop(fail)


def test_it_knows_how_long_it_was_idle_and_that_it_was_not_while_it_computed() -> None:
    async def work() -> tuple[float, float]:
        idle_s = idle_clock()
        before = idle_s()
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            await anyio.lowlevel.checkpoint()
        computed = idle_s()
        await anyio.sleep(0.05)
        return computed - before, idle_s() - computed

    while_it_computed, while_it_waited = run_on_event_loop(work)
    assert while_it_computed == 0.0
    assert while_it_waited >= 0.04


def test_a_loop_that_is_not_ours_counts_as_idle_all_the_time() -> None:
    async def work() -> float:
        idle_s = idle_clock()
        before = idle_s()
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            await anyio.lowlevel.checkpoint()
        return idle_s() - before

    assert asyncio.run(work()) >= 0.05
    assert trio.run(work) >= 0.05


def test_processes_can_be_started_on_it() -> None:
    async def work() -> bytes:
        done = await anyio.run_process([sys.executable, "-c", "print(6 * 7)"])
        return done.stdout.strip()

    assert run_on_event_loop(work) == b"42"
