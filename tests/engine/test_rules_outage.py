"""F2a: an endpoint that is away costs no row and no attempt. End to end in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from virtual_run import Finished, llm, model, prepared, run, sampler

from rowmill.absence import Absence
from rowmill.errors import EndpointAway, Unavailable
from rowmill.providers.protocol import ChatAnswer, ChatRequest
from rowmill.providers.simulated import SimulatedProvider

REFUSED = ("cannot be reached", "ConnectionRefused", True)
BEHIND_A_GATEWAY = ("answered 503: Loading model", "HTTP 503", False)
Fate = Callable[[float, str], tuple[str, str, bool] | None]
"""What becomes of a request at a time, in seconds since the beginning, with a prompt; None: it is answered."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """Runs rows against an endpoint of that fate, which takes 0.2 s to answer and no time to be away."""

    def runs(fate: Fate, *, records: int = 40, limit: int = 4, seeds: int = 40, **settings: Any) -> Finished:
        begun: list[float] = []
        requests.clear()

        async def chat(self: SimulatedProvider, request: ChatRequest) -> ChatAnswer:
            now = anyio.current_time()
            begun.append(now)
            prompt = str(request.messages[-1]["content"])
            requests.append((now - begun[0], prompt))
            failure = fate(now - begun[0], prompt)
            if failure is not None:
                message, kind, is_certain = failure
                raise Unavailable(message, kind, is_certain=is_certain)
            await anyio.sleep(0.2)
            return ChatAnswer(f"to {prompt}", finish_reason="stop")

        monkeypatch.setattr(SimulatedProvider, "chat", chat)
        columns = [sampler("n", values=range(seeds)), llm("text", "{{ n }}")]
        spec = prepared(*columns, models=[model(limit=limit)], records=records, row_group_size=10, run=settings)
        return run(spec)

    requests: list[tuple[float, str]] = []
    runs.requests = requests  # type: ignore[attr-defined]
    return runs


def away(since: float, until: float, failure: tuple[str, str, bool]) -> Fate:
    return lambda now, _: failure if since <= now < until else None


@pytest.mark.parametrize("failure", [REFUSED, BEHIND_A_GATEWAY])
@pytest.mark.parametrize("since", [0.0, 1.0])
def test_f2a_an_outage_of_ten_seconds_costs_no_row_and_no_attempt(
    world: Callable[..., Finished], failure: tuple[str, str, bool], since: float
) -> None:
    done = world(away(since, since + 10.0, failure), max_attempts=1)
    assert done.report is not None
    assert (done.report.exit_code, done.report.rows_finished, done.report.rows_dropped) == (0, 40, 0)
    assert done.sql("select distinct attempt from attempt") == [(1,)]
    assert done.took_s < 25
    # While it is away, one call at a time asks whether it is back.
    assert len(world.requests) <= 40 + 4 + 10  # type: ignore[attr-defined]
    assert done.violations() == []


def test_f2a_the_endpoint_keeps_the_limit_it_had(world: Callable[..., Finished]) -> None:
    done = world(away(1.0, 11.0, REFUSED))
    assert done.sql("select learned_limit from resource where resource = 'simulated/writer'") == [(4,)]


def test_f2a_a_run_says_since_when_and_why_an_endpoint_is_away(world: Callable[..., Finished]) -> None:
    done = world(away(1.0, float("inf"), REFUSED), unavailable_after_s=30.0)
    ((explanation,),) = done.sql("select explanation from resource where resource = 'simulated/writer'")
    assert "away since 22:13:21 UTC: cannot be reached" in explanation


@pytest.mark.parametrize("failure", [REFUSED, BEHIND_A_GATEWAY])
def test_f2a_a_run_whose_endpoint_stays_away_stops_with_75_and_drops_nothing(
    world: Callable[..., Finished], failure: tuple[str, str, bool]
) -> None:
    done = world(away(1.0, float("inf"), failure), unavailable_after_s=300.0)
    assert done.report is not None
    assert (done.report.exit_code, done.report.rows_dropped, done.report.state) == (75, 0, "stopped")
    assert 300 <= done.took_s < 400
    assert "has been away since" in done.report.message
    assert "unavailable_after_s" in done.report.message
    assert done.sql("select distinct attempts from deferred_task") == [(0,)]


@pytest.mark.slow
def test_f2a_a_request_that_alone_finds_the_endpoint_away_is_a_failure_of_its_own(
    world: Callable[..., Finished],
) -> None:
    done = world(lambda _, prompt: BEHIND_A_GATEWAY if prompt in ("3", "4") else None, records=400, seeds=100)
    assert done.report is not None
    poisoned = done.sql("select reason, error_type, attempts from dropped_row")
    assert len(poisoned) >= 5
    assert set(poisoned) == {("retries_exhausted", "HTTP 503", 4)}
    assert done.report.rows_finished + done.report.rows_dropped == 400


@pytest.mark.slow
def test_f2a_single_failures_of_a_healthy_endpoint_do_not_make_it_rest(world: Callable[..., Finished]) -> None:
    failed: set[str] = set()

    def fails_once(_: float, prompt: str) -> tuple[str, str, bool] | None:
        if int(prompt) % 10 or prompt in failed:
            return None
        failed.add(prompt)
        return BEHIND_A_GATEWAY

    done = world(fails_once, records=400, seeds=400)
    assert done.report is not None
    assert done.report.rows_finished == 400
    assert done.took_s < 400 * 0.2 / 4 * 1.2


def test_f2a_what_is_no_model_endpoint_fails_as_ever(run: Callable[..., Finished]) -> None:
    from virtual_run import custom

    async def failing(row: dict[str, Any]) -> str:
        raise Unavailable("nobody there", "ConnectionRefused", is_certain=True)

    done = run(prepared(custom("text", failing), records=1))
    assert done.sql("select reason, attempts from dropped_row") == [("retries_exhausted", 4)]


def test_rests_grow_to_a_minute_and_an_answer_ends_them() -> None:
    absence = Absence()
    rests = []
    now = 0.0
    for _ in range(12):
        assert absence.failed(now, 0.0, is_certain=True)
        rests.append(absence.rests_until - now)
        now = absence.rests_until
    assert rests[:4] == [0.5, 1.0, 2.0, 4.0]
    assert rests[-1] == 60.0
    absence.answered()
    assert (absence.is_away, absence.since) == (False, None)
    assert [absence.failed(now, 0.0, is_certain=False) for _ in range(3)] == [False, False, True]
    assert absence.failed(now, 0.0, is_certain=False)
    assert absence.rests_until == now + 0.5


def test_a_wait_the_endpoint_asks_for_is_kept() -> None:
    absence = Absence()
    absence.failed(0.0, 20.0, is_certain=True)
    assert absence.rests_until == 20.0


def test_an_endpoint_that_is_away_for_too_long_is_an_interruption() -> None:
    assert EndpointAway("x").exit_code == 75
