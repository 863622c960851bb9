"""C6: several servers of one model share its requests, and one that is away costs nothing. Real sockets."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from anyio.abc import TaskStatus
from loopback_server import ONE_ANSWER, LoopbackHandler, LoopbackServer, serving
from provider_simulator import provider_simulator
from trio.testing import MockClock

from rowmill.engine.ending import RunReport
from rowmill.engine.invocation import run
from rowmill.engine.preparation import prepare
from rowmill.errors import EndpointAway, Incompatible, RateLimited, RunStopping, SpecError, Unavailable
from rowmill.graph.endpoint import endpoints
from rowmill.graph.fingerprint import fingerprint
from rowmill.inspect.limits import limit_of
from rowmill.inspect.steering import steer
from rowmill.providers.servers import Server, Servers
from rowmill.remote.opening import open_workers
from rowmill.run_database import RunDatabase
from rowmill.spec.executor import executor_settings
from rowmill.spec.spec import Spec
from rowmill.task import FinishedRowGroup


def spec(*urls: str, records: int = 120, **model: Any) -> Spec:
    config = {"alias": "writer", "base_url": list(urls), "model": "small", "max_parallel_requests": 4, **model}
    columns = [
        {"name": "id", "column_type": "sampler", "sampler_type": "uuid"},
        {"name": "note", "column_type": "llm-text", "model_alias": "writer", "prompt": "Of {{ id }}"},
    ]
    settings = {"max_attempts": 1, "unavailable_after_s": 1.5}
    return Spec.from_data(
        {"records": records, "row_group_size": 20, "models": [config], "columns": columns, "run": settings}
    )


def go(
    made: Spec, database: Path, on_group: Callable[[FinishedRowGroup], None] | None = None, **environ: str
) -> RunReport:
    async def work() -> RunReport:
        environment = {"ROWMILL_SKIP_HEALTH_CHECKS": "1", **environ}
        return await run(prepare(made, database.parent), database, environ=environment, on_row_group_finished=on_group)

    return anyio.run(work)


def told(database: Path, query: str) -> list[dict[str, Any]]:
    with RunDatabase.open(database) as opened:
        rows: list[dict[str, Any]] = opened.sql(query).to_pylist()
    return rows


def test_c6_two_servers_share_the_requests_and_each_has_its_own_limit(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    with provider_simulator(latency_ms=10) as one, provider_simulator(latency_ms=10) as other:
        report = go(spec(one.url, other.url), database)
        asked = [each.statistics()["requests"] for each in (one, other)]
    assert (report.exit_code, report.rows_finished, sum(asked)) == (0, 120, 120)
    assert min(asked) >= 40
    found = {row["resource"]: row["configured_limit"] for row in told(database, "from resource")}
    names = [f"openai/small@{url.split('/')[2]}" for url in (one.url, other.url)]
    assert found == {"openai/small": 8, names[0]: 4, names[1]: 4, "local": 1024, "local/threads": 4}


@pytest.mark.slow
def test_c6_a_server_that_is_killed_costs_no_row_and_no_attempt_and_is_used_again_when_it_is_back(
    tmp_path: Path,
) -> None:
    database = tmp_path / "run.duckdb"
    with ExitStack() as stack:
        stays = stack.enter_context(provider_simulator(latency_ms=15))
        dies = stack.enter_context(provider_simulator(latency_ms=15))
        port = dies.url.split(":")[2].split("/")[0]
        back: list[Any] = []

        def disturb(group: FinishedRowGroup) -> None:
            if group.row_group == 3:
                os.kill(dies.pid, signal.SIGKILL)
            if group.row_group == 12:
                back.append(stack.enter_context(provider_simulator(latency_ms=15, port=port)))

        # When it is back it may rest for 2 s still; the other one alone takes 266 requests a second.
        report = go(spec(stays.url, dies.url, records=1500), database, disturb)
        assert back[0].statistics()["requests"] > 20
    assert (report.exit_code, report.rows_finished, report.rows_dropped) == (0, 1500, 0)
    assert told(database, "select distinct attempt from attempt where outcome = 'succeeded'") == [{"attempt": 1}]
    assert told(database, "from invariant_violation") == []
    kinds = [row["kind"] for row in told(database, "select kind from event where subject like '%@%' order by \"at\"")]
    assert kinds[0] == "server rests"
    assert kinds[-1] == "server is back"


@pytest.mark.slow
def test_c6_an_endpoint_is_away_when_all_its_servers_are(tmp_path: Path) -> None:
    with pytest.raises(EndpointAway, match=r"openai/small has been away .* All 2 servers are away"):
        go_and_raise(spec("http://127.0.0.1:9/v1", "http://127.0.0.1:11/v1", records=4), tmp_path / "run.duckdb")


def go_and_raise(made: Spec, database: Path) -> None:
    report = go(made, database)
    if report.stop is not None:
        assert report.rows_dropped == 0
        raise report.stop


def test_c6_a_server_that_refuses_rests_alone(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    with provider_simulator(latency_ms=5) as willing, provider_simulator(rate_limited=1.0) as refusing:
        report = go(spec(willing.url, refusing.url, records=60), database)
        assert (report.exit_code, report.rows_finished) == (0, 60)
        assert willing.statistics()["requests"] >= 60
        assert refusing.statistics()["requests"] <= 8
    name = f"openai/small@{refusing.url.split('/')[2]}"
    (row,) = told(database, f"from resource where resource = '{name}'")
    assert row["learned_limit"] < row["configured_limit"] == 4
    assert row["cooling_until"] is not None
    (whole,) = told(database, "from resource where resource = 'openai/small'")
    assert (whole["learned_limit"], whole["cooling_until"]) == (8, None)


def test_c6_one_url_may_become_a_list_and_nothing_is_made_again(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    asked: list[str] = []

    class Handler(LoopbackHandler):
        def respond(self, body: bytes) -> None:
            asked.append(threading.current_thread().name)
            self.answer_json(ONE_ANSWER)

    with serving(LoopbackServer(Handler)) as one, serving(LoopbackServer(Handler)) as other:
        urls = [f"{server.url}/v1" for server in (one, other)]
        single = spec(urls[0], records=20)
        several = spec(*urls, records=20)
        assert go(single, database).rows_finished == 20
        prints = [
            [fingerprint(n.declaration) for n in prepare(each, tmp_path).graph.generators] for each in (single, several)
        ]
        assert prints[0] == prints[1]
        assert go(several, database).exit_code == 0
        assert go(spec(*urls, records=40), database).rows_finished == 40
    assert len(asked) == 40
    with pytest.raises(Incompatible):
        go(spec(*urls, records=40, model="large"), database)


def test_c6_the_health_check_asks_each_server(tmp_path: Path) -> None:
    with provider_simulator(api_key="right") as good, provider_simulator(api_key="other") as bad:
        made = spec(good.url, bad.url, records=4, api_key="${KEY}")
        with pytest.raises(RunStopping, match=bad.url.split("/")[2]):
            go(made, tmp_path / "run.duckdb", ROWMILL_SKIP_HEALTH_CHECKS="0", KEY="right")


def test_c6_a_limit_is_set_by_alias_by_url_or_by_name(tmp_path: Path) -> None:
    database = tmp_path / "run.duckdb"
    with provider_simulator() as one, provider_simulator() as other:
        go(spec(one.url, other.url, records=4), database)
    name = f"openai/small@{other.url.split('/')[2]}"
    for asked, resource, calls in (("writer", "openai/small", 8), (other.url, name, 4), (name, name, 4)):
        found = limit_of(database, asked)
        assert (found.resource, found.calls) == (resource, calls)


@pytest.mark.parametrize("executor", ["local", pytest.param("processes", marks=pytest.mark.slow)])
def test_c6_a_limit_of_one_server_holds_from_then_on_in_a_living_run(
    tmp_path: Path, sockets: Path, executor: str
) -> None:
    database, begun = tmp_path / "run.duckdb", threading.Event()
    with provider_simulator(latency_ms=20) as one, provider_simulator(latency_ms=20) as other:
        made = spec(one.url, other.url, records=400)
        settings = executor_settings({"kind": "processes", "workers": 2} if executor == "processes" else executor)

        async def work() -> None:
            await run(
                prepare(made, tmp_path),
                database,
                environ={"ROWMILL_SKIP_HEALTH_CHECKS": "1"},
                on_row_group_finished=lambda group: begun.set(),
                executor=settings,
                open_workers=open_workers,
            )

        running = threading.Thread(target=anyio.run, args=(work,))
        running.start()
        assert begun.wait(60)
        found = limit_of(database, one.url)
        steer(database, "limit", {"resource": found.resource, "calls": 1, "spec_calls": found.calls})
        before = [each.statistics()["requests"] for each in (one, other)]
        running.join(60)
        asked = [each.statistics()["requests"] - so_far for each, so_far in zip((one, other), before, strict=True)]
    assert sum(asked) > 100
    # One at a time, of each of two workers at least, beside four: not half of them.
    assert asked[0] < asked[1] * (0.45 if executor == "local" else 0.75)
    limits = {row["resource"]: row["configured_limit"] for row in told(database, "from resource")}
    assert limits[found.resource or ""] == 1


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ([], "The list of servers is empty"),
        (["http://a:80/v1", "http://a/v1/"], "A server is named twice"),
        (["http://a/v1", "ftp://b/v1"], "must start with http"),
    ],
)
def test_a_list_of_servers_that_makes_no_sense_is_refused(urls: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec(*urls)


def test_aliases_that_share_only_some_servers_are_refused() -> None:
    shared = {"provider": "openai", "model": "small"}
    models: list[dict[str, Any]] = [
        {"alias": "both", "base_url": ["http://a/v1", "http://b/v1"], **shared},
        {"alias": "one", "base_url": "http://A:80/v1/", **shared},
    ]
    with pytest.raises(SpecError, match="'one' and 'both' share some servers of the model, but not all"):
        Spec.from_data({"records": 1, "models": models})
    models[1]["base_url"] = ["http://b/v1", "http://a/v1"]
    (endpoint,) = endpoints(Spec.from_data({"records": 1, "models": models})).values()
    assert endpoint.aliases == ("both", "one")


def test_c6_requests_that_no_server_took_say_nothing_of_the_others() -> None:
    async def check() -> None:
        servers = Servers(["a", "b"], 1)
        server = await servers.take()
        refusal = RateLimited("slow down", 300.0)
        await fail(servers, server, refusal)
        assert servers.has_another(server)
        told = servers.told_of_all(refusal)
        assert isinstance(told, RateLimited)
        assert told.retry_after_s == 0.0
        lost = servers.told_of_all(Unavailable("nobody", "ConnectionRefused", is_certain=True))
        assert isinstance(lost, Unavailable)
        assert not lost.is_certain

    in_virtual_time(check)


def test_a_list_of_one_server_is_that_server() -> None:
    assert spec("http://a/v1").models[0].base_url == "http://a/v1"
    (endpoint,) = endpoints(spec("http://a/v1")).values()
    assert (endpoint.servers, endpoint.limit) == ((), 4)


# In virtual time ----------------------------------------------------------------------------------


def in_virtual_time(check: Callable[[], Any]) -> None:
    trio.run(check, clock=MockClock(autojump_threshold=0))


async def fail(servers: Servers, server: Server, error: Exception) -> None:
    with pytest.raises(type(error)), servers.watching(server):
        raise error


def test_c6_a_dead_server_is_tried_with_one_request_at_a_time_until_it_answers() -> None:
    async def check() -> None:
        servers = Servers(["a", "b"], 2)
        taken = [await servers.take() for _ in range(4)]
        assert sorted(each.name for each in taken) == ["a", "a", "b", "b"]
        dead = [each for each in taken if each.name == "a"]
        for each in dead:
            await fail(servers, each, Unavailable("nobody", "ConnectionRefused", is_certain=True))
        assert servers.running() == {"a": 0, "b": 2}
        began = anyio.current_time()
        probe = await servers.take()  # b is full: the first to have room is a, when it was left alone long enough
        assert (probe.name, anyio.current_time() - began) == ("a", 0.5)
        with pytest.raises(RateLimited, match="No server"):
            await servers.take()
        with servers.watching(probe):
            pass
        assert [(await servers.take()).name for _ in range(2)] == ["a", "a"]
        assert [state.name for state in servers.changes()] == ["a"]

    in_virtual_time(check)


def test_c6_who_waits_for_a_place_gets_the_first_that_is_free() -> None:
    async def check() -> None:
        servers = Servers(["a", "b"], 1)
        first, _ = await servers.take(), await servers.take()

        async def hold(*, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            with servers.watching(first):
                task_status.started()
                await anyio.sleep(3)

        async with anyio.create_task_group() as group:
            await group.start(hold)
            assert (await servers.take()).name == first.name
            assert anyio.current_time() > 2

    in_virtual_time(check)


def test_c6_the_learned_limit_of_a_server_is_its_own_and_grows_back() -> None:
    async def check() -> None:
        servers = Servers(["a", "b"], 8)
        while (server := await servers.take()).name != "a":
            with servers.watching(server):
                pass
        await fail(servers, server, RateLimited("slow down", 3.0))
        assert servers.newly_learned() == {"a": 6}
        assert servers.newly_learned() == {}
        assert {(await servers.take()).name for _ in range(8)} == {"b"}
        await anyio.sleep(3.1)
        for _ in range(25):
            back = await servers.take()
            assert back.name == "a"
            with servers.watching(back):
                pass
        assert servers.newly_learned() == {"a": 7}

    in_virtual_time(check)


def test_c6_the_endpoint_rests_until_the_first_server_takes_requests_again() -> None:
    async def check() -> None:
        servers = Servers(["a", "b"], 1)
        for wait_s in (30.0, 20.0):
            await fail(servers, await servers.take(), RateLimited("slow down", wait_s))
        with pytest.raises(RateLimited, match="All 2 servers") as rests:
            await servers.take()
        assert rests.value.retry_after_s == pytest.approx(20.0)

    in_virtual_time(check)
