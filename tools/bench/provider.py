"""Requests through the whole engine: an ``llm-text`` column whose model is the HTTP simulator, in its own process.

Limits of the same run: the ideal (requests in flight ÷ latency), and the bare client: as many loops as may be in
flight that call the same provider with the same requests, without engine, dispatcher and store.

Shares of the ideal come from the journal of requests, in two ways. *whole*: from the first request's start to
the last one's end, with everything in between. *steady*: without the ramp-up, when the first ``in flight`` requests
open their connections one after another, and without the tail, when there is nothing left to start. With
requests sorted by their start, it is the mean time from one start to the start ``in flight`` places later, that
is the time a place in flight needs for one request, from the second wave to the last start, compared with the latency.
Both CPU figures are per request; two processes share this machine's two cores.

Measured on 2026-11-20, 2 cores, 24 GiB, Python 3.11.7, DuckDB 2.0.0, ``--seconds 4``, machine otherwise idle; engine,
simulator and their event loops share the two cores, and the bare client misses the ideal there, too::

    provider    latency  in flight  requests/s  steady/s   whole  of ideal  bare/s  of bare  CPU µs  bare  simulator
    HTTP              0         64       3,496     3,515                    11,295   31.1 %     337    96         45
    HTTP              0        256       4,744     4,808                     9,462   50.8 %     262   116         41
    HTTP              0        512       4,279     4,472                     7,827   57.1 %     286   140         46
    HTTP              0      1,024       4,143     4,345                     7,194   60.4 %     295   157         62
    HTTP            200         64         308       314  96.3 %    98.2 %     316   99.5 %   1,842   257        125
    HTTP            200        256       1,176     1,233  91.8 %    96.4 %   1,253   98.4 %     782   167         92
    HTTP            200        512       2,158     2,331  84.3 %    91.0 %   2,441   95.5 %     475   154         69
    HTTP            200      1,024       3,447     3,908  67.3 %    76.3 %   4,800   81.4 %     317   151         53
    in process      200      1,024       4,744     5,061  92.6 %    98.9 %   5,085   99.5 %     172    21

On 2026-11-21, after what is said below was found, HTTP at 200 ms, ``--seconds`` 6 to 20, ten runs while the machine was
quick (the bare client takes 165 to 180 µs of CPU a request then) and eight while its other users made it slow (190 to
260 µs); the last column before that change, measured in turns with it::

    in flight              of ideal      of bare     median turn  to commit (median)    before
    256, quick               98.3 %      100.1 %           19 ms               39 ms    96.4 %
    512, quick     97.2 to 98.3 %   99.6 to 102.7 %   24 to 29 ms        46 to 57 ms    95.5 %
    512, slow      92.7 to 97.6 %   97.9 to 102.1 %   31 to 66 ms       66 to 142 ms   92.3 to 94.0 %

Later that day, since turns need fewer statements: nine runs of 15 and 30 s while the machine was quick (three of 10 s,
in which the start weighs more: 97.4 to 98.0 %), eight while it was slow; the last column as above::

    512, quick     98.0 to 98.5 %  101.4 to 103.3 %   14 to 16 ms        33 to 36 ms
    512, slow      95.6 to 97.8 %   99.7 to 102.7 %   22 to 34 ms        50 to 76 ms    97.0, 97.2 %
    in process, 1,024, slow: 98.5, 99.1 %

On 2026-12-01, ``--seconds 4``, machine idle; of those with ``--processes 1``, whose CPU is that of the run without the
process that makes the requests, three runs and their median. Since then results are committed before tasks are looked
for, the log is folded in parts of 4 MiB, and calls wait at their worker for a place; the last three columns are one run
of each the day before::

                               of bare     CPU µs  median to commit  99 % to commit    before
    0 ms x 64                     49 %        214             39 ms           91 ms    55 %   40 ms    77 ms
    0 ms x 256                    48 %        224             37 ms           76 ms    52 %   42 ms   108 ms
    0 ms x 1,024                  58 %        229             36 ms           66 ms    60 %   38 ms    79 ms
    20 ms x 512                   54 %        219             38 ms           89 ms    55 %   40 ms    94 ms
    200 ms x 512                 100 %        284             30 ms           68 ms   100 %   31 ms    81 ms
    200 ms x 1,024               101 %        231             34 ms           73 ms   102 %   41 ms   123 ms
    0 ms x 256, 1 process         70 %        102             40 ms           87 ms    68 %   45 ms    95 ms
    0 ms x 512, 1 process         70 %        108             38 ms           92 ms
    20 ms x 256, 1 process        64 %        108             43 ms           95 ms
    20 ms x 512, 1 process        73 %        105             42 ms           95 ms    68 %   43 ms   100 ms

Runs of 60,000 requests at 0 ms x 256, in turns with the day before: 99 % were committed within 66 ms, and once 157,
against 118 and 122; with one process within 97 and 100 ms against 127 and 137, and 8 % more requests were made.

What limits one process is the interpreter: of 200 µs a request about 100 are those of the bare client, and 55 those of
the writer, for which the loop waits. With a process for the requests both cores are used up: 100 µs by the run, 50 by
the endpoint, and 130 by that process.

*of its ideal* compares with what the endpoint really took, by its own clock: it shares the cores with its client, and
answers up to a millisecond late.

On asyncio's own event loop the bare client stays at 95 to 96 % of the ideal at 200 ms and 512 in flight, and the engine
behind it: requests that end together are sent together again, after exactly the same time, and each waits for those
before it. ``rowmill.engine.event_loop`` looks after few ready sockets at a time, which takes such convoys apart.
A client of a few lines without aiohttp reaches 99.3 %. How long a thread may keep the interpreter makes no difference.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from rowmill.engine.event_loop import run_on_event_loop
from rowmill.providers.opening import open_provider
from rowmill.providers.protocol import ChatRequest, Provider
from rowmill.run_database import RunDatabase
from rowmill.spec.executor import executor_settings
from rowmill.spec.model import ModelConfig

from .engine_run import prepared_spec, run_engine
from .gauge import Gauge, allow_many_files, in_own_process, process_cpu_s
from .report import Figure, Report, Row, Table
from .script import bench_script
from .simulator import http_simulator

_CASES = [(latency, in_flight) for latency in (0, 20, 200) for in_flight in (64, 256, 512, 1024)]
_QUICK_CASES = [(0, 64), (200, 64)]
_IN_PROCESS = (200, 1024)
_MOST_PER_S = 4000
_WAVES = 10
_MODEL = "bench"
_FIGURES = (
    Figure("provider", "provider"),
    Figure("latency_ms", "latency ms"),
    Figure("in_flight", "in flight"),
    Figure("requests", "requests"),
    Figure("requests_per_s", "requests/s"),
    Figure("steady_per_s", "steady/s"),
    Figure("share_whole", "whole", percent=True),
    Figure("share_steady", "of ideal", percent=True),
    Figure("endpoint_ms", "endpoint ms", 1),
    Figure("share_of_endpoint", "of its ideal", percent=True),
    Figure("bare_per_s", "bare client/s"),
    Figure("share_of_bare", "of bare", percent=True),
    Figure("cpu_us", "CPU µs"),
    Figure("bare_cpu_us", "bare CPU µs"),
    Figure("simulator_cpu_us", "simulator µs"),
    Figure("peak_mib", "peak MiB"),
    Figure("median_turn_ms", "median turn ms", 1),
    Figure("longest_turn_ms", "longest ms", 1),
    Figure("median_lag_ms", "median to commit ms", 1),
    Figure("long_lag_ms", "99 % to commit ms", 1),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--quick", action="store_true", help="only 64 in flight at 0 and 200 ms, and in process")
    parser.add_argument(
        "--case", action="append", metavar="MS:COUNT", help="latency and requests in flight (repeatable; HTTP only)"
    )
    parser.add_argument("--jitter", type=float, default=0.0, help="share by which latencies vary (default: 0)")
    parser.add_argument("--seconds", type=float, default=1.0, help="aimed at per case (default: 1)")
    parser.add_argument(
        "--processes", type=int, metavar="N", help="have N processes beside the run make the requests (HTTP only)"
    )


def measure(options: argparse.Namespace) -> Report:
    """Runs case after case; engine, bare client and simulator each in a process of their own."""
    report = Report("provider")
    cases = _QUICK_CASES if options.quick else _CASES
    if options.case:
        cases = [(int(latency), int(count)) for latency, _, count in (case.partition(":") for case in options.case)]
    rows: list[Row] = [_over_http(*case, options.jitter, options.seconds, options.processes) for case in cases]
    if not options.case:
        latency_ms, in_flight = (200, 64) if options.quick else _IN_PROCESS
        rows.append(_in_this_process(latency_ms, in_flight, options.jitter, options.seconds))
    report.tables.append(Table("provider", "One llm-text column, one request a row", _FIGURES, rows))
    report.notes.append(
        "requests/s and whole: first start to last end. steady/s and of ideal: without the first wave and the tail."
    )
    return report


def _over_http(latency_ms: int, in_flight: int, jitter: float, seconds: float, processes: int | None) -> dict[str, Any]:
    requests = _request_count(latency_ms, in_flight, seconds)
    name = "HTTP" if processes is None else f"HTTP, processes: {processes}"
    found: dict[str, Any] = {"provider": name, **_case(latency_ms, in_flight, requests)}
    for measured, prefix in ((partial(_engine, processes=processes), ""), (bare_client, "bare_")):
        with http_simulator(latency_ms, {_MODEL: {"latency_jitter": jitter}}) as simulator:
            model = {"provider": "openai", "base_url": simulator.base_url}
            before = process_cpu_s(simulator.pid)
            figures = in_own_process(measured, model, latency_ms, in_flight, requests)
            after = process_cpu_s(simulator.pid)
            if not prefix:
                found["endpoint_ms"] = simulator.mean_latency_ms()
        if before is not None and after is not None and not prefix:
            found["simulator_cpu_us"] = (after - before) / requests * 1e6
        found |= figures
    return _compared(found)


def _in_this_process(latency_ms: int, in_flight: int, jitter: float, seconds: float) -> dict[str, Any]:
    requests = _request_count(latency_ms, in_flight, seconds)
    model = {"provider": "simulated", "simulation": {"latency_ms": latency_ms, "latency_jitter": jitter}}
    found: dict[str, Any] = {"provider": "in process", **_case(latency_ms, in_flight, requests)}
    found |= in_own_process(_engine, model, latency_ms, in_flight, requests)
    found |= in_own_process(bare_client, model, latency_ms, in_flight, requests)
    return _compared(found)


def _case(latency_ms: int, in_flight: int, requests: int) -> dict[str, Any]:
    return {"latency_ms": latency_ms, "in_flight": in_flight, "requests": requests}


def _request_count(latency_ms: int, in_flight: int, seconds: float) -> int:
    """At least ten requests per place in flight, and as many as take about ``seconds``."""
    ideal_per_s = in_flight / latency_ms * 1000 if latency_ms else float("inf")
    return max(_WAVES * in_flight, int(min(ideal_per_s, _MOST_PER_S) * seconds))


def _compared(found: dict[str, Any]) -> dict[str, Any]:
    if found["latency_ms"] and "endpoint_ms" in found:
        found["share_of_endpoint"] = found["steady_per_s"] * found["endpoint_ms"] / 1000 / found["in_flight"]
    found["share_of_bare"] = found["steady_per_s"] / found["bare_per_s"]
    return found


def _spec(model: dict[str, Any], in_flight: int, rows: int) -> dict[str, Any]:
    return {
        "name": "provider",
        "records": rows,
        "row_group_size": min(500, rows),
        # The defaults, unless more is asked for at once than they let run.
        "run": {"max_in_flight": max(1024, in_flight), "max_active_rows": max(8192, 4 * in_flight)},
        "models": [{"alias": "writer", "model": _MODEL, "max_parallel_requests": in_flight, **model}],
        "columns": [
            {
                "name": "subject",
                "column_type": "sampler",
                "sampler_type": "uuid",
                "params": {},
            },
            {
                "name": "text",
                "column_type": "llm-text",
                "model_alias": "writer",
                "prompt": "Write about {{ subject }}.",
            },
        ],
    }


def _engine(
    model: dict[str, Any], latency_ms: int, in_flight: int, requests: int, *, processes: int | None = None
) -> dict[str, Any]:
    allow_many_files(in_flight + 256)
    executor = None if processes is None else executor_settings({"kind": "processes", "workers": processes})
    prepared = prepared_spec(_spec(model, in_flight, requests))
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "provider.duckdb"
        run = run_engine(prepared, file, executor)
        with RunDatabase.open(file) as database:
            journal = database.sql(bench_script("requests"))
    started, ended = journal.column("started").to_pylist(), journal.column("ended").to_pylist()
    whole_per_s = len(started) / (max(ended) - started[0])
    steady_per_s = steady_rate(started, in_flight)
    found = {
        "requests_per_s": whole_per_s,
        "steady_per_s": steady_per_s,
        "cpu_us": run.cpu_s / requests * 1e6,
        "peak_mib": run.peak_mib,
        "turns": run.turns,
        "median_turn_ms": run.median_turn_ms,
        "longest_turn_ms": run.longest_turn_ms,
        "median_lag_ms": run.median_lag_ms,
        "long_lag_ms": run.long_lag_ms,
    }
    if latency_ms:
        ideal_per_s = in_flight / latency_ms * 1000
        found |= {"share_whole": whole_per_s / ideal_per_s, "share_steady": steady_per_s / ideal_per_s}
    return found


def steady_rate(started: Sequence[float], in_flight: int) -> float:
    """Requests per second between ramp-up and tail. ``started`` is sorted and has at least three waves."""
    waves = (len(started) - in_flight) // in_flight - 1
    whole_waves = waves * in_flight
    cycles = [started[place + whole_waves] - started[place] for place in range(in_flight, len(started) - whole_waves)]
    return whole_waves * len(cycles) / sum(cycles)


def bare_client(model: dict[str, Any], latency_ms: int, in_flight: int, requests: int) -> dict[str, Any]:
    """The same requests without engine, dispatcher and store: as many loops as may be in flight."""
    allow_many_files(in_flight + 256)
    config = ModelConfig.model_validate({"alias": "writer", "model": _MODEL, **model})
    starts: list[float] = []
    with Gauge() as gauge:
        run_on_event_loop(partial(_ask_all, config, in_flight, requests, starts))
    return {"bare_per_s": steady_rate(sorted(starts), in_flight), "bare_cpu_us": gauge.cpu_s / requests * 1e6}


async def _ask_all(config: ModelConfig, in_flight: int, requests: int, starts: list[float]) -> None:
    provider = open_provider(config, {}, in_flight)
    numbers = iter(range(requests))
    try:
        async with anyio.create_task_group() as group:
            for _ in range(in_flight):
                group.start_soon(_ask, provider, numbers, starts)
    finally:
        await provider.aclose()


async def _ask(provider: Provider, numbers: Iterator[int], starts: list[float]) -> None:
    for number in numbers:
        starts.append(time.perf_counter())
        await provider.chat(ChatRequest([{"role": "user", "content": f"Write about {number:036}."}]))
