"""The life of one run database: created, worked on, steered, extended and changed, and killed all the time.

Its acts follow each other whether the run is complete by then or not. Between them and after every kill the file is
looked at; in the end the run goes to its end, and the dataset has to be that of a run nobody interrupted.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from asked_again import LAST_MOMENTS_S, AskedAgain, Cost
from fork_server import ForkServer
from killed_spec import CHANGED_COLUMNS, IN_BARRIER, PAID_COLUMNS, RERUN_COLUMN, content_of, write_specs
from left_behind import LeftBehind, look
from processor import waited_for_processor_s
from provider_simulator import RunningSimulator
from pyarrow import parquet

KILLS_OF_A_LIFE = 44
_KILLS_IN_CREATION = 2
_PATIENCE_S = 60.0
_END_S = 600.0
_SHARE_IN_START_UP = 0.2
_SHARE_IN_BARRIER = 0.5
"""Of the kills of a run whose rows are about to come to the barrier."""
_SHARE_WITH_CHECKPOINTS = 0.25
_SHARE_STEERED = 0.35
_SHARE_OF_EXPORTS = 0.08
_SHARE_OF_DOCTORS = 0.04
_SHARE_OF_KILLED_VERBS = 0.7
_LONGEST_MOMENT_S = 0.6
_SHARE_OF_START_UP = 0.5
"""How long a verb takes, about, as a share of the start-up of a run."""
_RERUN = ["rerun", "{database}", "--column", RERUN_COLUMN, "--where", "row_id % 4 = 1", "--yes"]
_RETRY = ["retry", "{database}", "--dropped"]


@dataclass(frozen=True)
class Surroundings:
    """What the lives have in common."""

    server: ForkServer
    simulator: RunningSimulator
    records: int
    in_flight: int
    start_up_s: float
    always_checkpoints: bool
    expected: dict[str, Any]
    is_enough: Callable[[int], bool] = lambda kills: False
    """Whether so many kills are, though more were asked for."""


@dataclass
class Tally:
    """What was killed, and what was found, in all lives."""

    kills: Counter[str] = field(default_factory=Counter)
    """By what the process did when it died."""
    steered: Counter[str] = field(default_factory=Counter)
    with_checkpoints: int = 0
    lives: int = 0
    requests: int = 0
    answered: int = 0
    asked_again: int = 0
    cleared: int = 0
    """Cells with a committed answer that were cleared on purpose, to be asked for again."""
    cut_off: int = 0
    """Rows dropped by hand, whose calls may have been under way."""
    costs: list[Cost] = field(default_factory=list)
    """Of each kill."""
    kills_over_window: int = 0
    oldest_lost_s: float = 0.0
    problems: list[str] = field(default_factory=list)


class _Over(Exception):
    """Something is wrong; this life cannot go on."""


class Life:
    """One run database, from its creation to its end."""

    def __init__(self, directory: Path, surroundings: Surroundings, tally: Tally, moments: random.Random) -> None:
        self._directory = directory
        self._around = surroundings
        self._server = surroundings.server
        self._tally = tally
        self._random = moments
        simulator = surroundings.simulator
        self._specs = write_specs(directory, simulator.url, surroundings.records, surroundings.in_flight)
        self._database = directory / "killed.duckdb"
        self._exported = directory / "killed.parquet"
        self._books = AskedAgain(simulator, surroundings.in_flight)
        self._known = LeftBehind()
        self._made_again = 0
        """Cells that were cleared on purpose, by a verb or a changed prompt."""
        self._left = 0

    def live(self, kills: int) -> None:
        """Dies that many times at most, then goes to the end. What is wrong is in the tally."""
        self._left = kills
        begun, extended, whole = self._specs.parts
        changed = self._specs.changed
        records, row_group_size = map(str, self._specs.extended)
        extend = ["extend", "{database}", "--records", records, "--row-group-size", row_group_size]
        try:
            self._die_in_creation(min(_KILLS_IN_CREATION, kills))
            self._act(11, ["run", "--quiet", str(begun), "{database}"])
            self._verb("extend", extend)
            self._act(7, ["run", "--quiet", str(extended), "{database}"])
            self._act(7, self._change(changed), made_again=CHANGED_COLUMNS)
            self._verb("rerun", _RERUN, made_again=CHANGED_COLUMNS)
            self._act(4, ["run", "--quiet", "{database}"])
            self._act(7, self._change(whole), made_again=CHANGED_COLUMNS)
            self._verb("retry", _RETRY)
            self._act(self._left, ["run", "--quiet", "{database}"])
            self._end()
        except _Over as over:
            self._tally.problems.append(str(over))
        self._sum_up()

    @staticmethod
    def _change(spec: Path) -> list[str]:
        return ["run", "--quiet", str(spec), "{database}", "--accept-changes", "--yes"]

    def _sum_up(self) -> None:
        tally, books, statistics = self._tally, self._books, self._around.simulator.statistics()
        tally.lives += 1
        tally.requests += statistics["requests"]
        tally.answered += statistics["answered"]
        tally.asked_again += statistics["repeated_bodies"]
        tally.cleared += books.cleared
        tally.cut_off += books.cut_off
        tally.costs += books.costs
        tally.kills_over_window += books.kills_over_window
        tally.oldest_lost_s = max(tally.oldest_lost_s, books.oldest_lost_s)

    # Acts ------------------------------------------------------------------------------------------

    def _die_in_creation(self, kills: int) -> None:
        """Kills processes between making the file and the first requests; each begins with no file."""
        for _ in range(kills):
            for path in self._directory.glob("killed.duckdb*"):
                path.unlink()
            self._around.simulator.reset()
            self._books = AskedAgain(self._around.simulator, self._around.in_flight)
            self._known = LeftBehind()
            process = self._start(["run", "--quiet", str(self._specs.parts[0]), "{database}"])
            while not self._database.exists() and self._server.wait(process, 0.002) is None:
                pass
            self._die(process, self._random.uniform(0.0, 0.6 * self._around.start_up_s), "creation")

    def _act(self, kills: int, arguments: list[str], made_again: Iterable[str] = ()) -> None:
        """Lets a run work and kills it that many times, unless it is complete before."""
        for _ in range(min(kills, self._left)):
            self._resume_if_paused()
            self._visit()
            if not self._left:
                return
            self._clear_barrier_mark()
            asked = self._requests()
            checkpoints = self._around.always_checkpoints or self._random.random() < _SHARE_WITH_CHECKPOINTS
            process = self._start(arguments, checkpoints=checkpoints)
            what, moment_s = self._await_occasion(process, asked)
            steering = self._steer(moment_s) if what == "work" and self._random.random() < _SHARE_STEERED else []
            code = self._die(process, moment_s, what, steering=steering, made_again=made_again)
            if code == -9:
                self._tally.with_checkpoints += checkpoints
            elif code in {0, 3}:
                return
            else:
                raise _Over(self._failure("the run", code))

    def _await_occasion(self, process: int, asked: int) -> tuple[str, float]:
        """Waits until the process does what it is to die in; how long after that it dies."""
        if self._random.random() < _SHARE_IN_START_UP:
            return "start-up", self._random.uniform(0.0, self._around.start_up_s)
        in_barrier = self._is_near_barrier() and self._random.random() < _SHARE_IN_BARRIER
        mark = self._directory / IN_BARRIER
        until = time.monotonic() + _PATIENCE_S
        while not (mark.exists() if in_barrier else self._requests() > asked):
            if self._server.wait(process, 0.01) is not None:
                break
            if time.monotonic() > until:
                self._server.kill(process)
                raise _Over(f"{self._when()}: for {_PATIENCE_S:.0f} s the run neither asked for anything nor ended")
        return "barrier" if in_barrier else "work", self._random.uniform(0.0, _LONGEST_MOMENT_S)

    def _is_near_barrier(self) -> bool:
        return "length" in self._known.open_barriers and self._known.missing("first") < 4 * self._around.in_flight

    def _clear_barrier_mark(self) -> None:
        (self._directory / IN_BARRIER).unlink(missing_ok=True)

    def _steer(self, moment_s: float) -> list[int]:
        """Other processes ask something of the run that is about to be killed."""
        first = self._random.randrange(self._around.records)
        verbs = {
            "pause": ["pause", "{database}"],
            "limit": ["limit", "{database}", "writer", self._random.choice(["16", "24", "spec"])],
            "drop": ["drop", "{database}", "--rows", f"{first}-{first + 30}", "--yes"],
            "retry --dropped": _RETRY,
            "retry --deferred": ["retry", "{database}", "--deferred"],
        }
        chosen = self._random.sample(sorted(verbs), self._random.choice([1, 2]))
        self._tally.steered.update(chosen)
        return [self._start(verbs[verb], errors="steering.txt") for verb in chosen]

    def _verb(self, name: str, arguments: list[str], made_again: Iterable[str] = ()) -> None:
        """Does something to the run while nobody works on it; killed at first, it may be, then done."""
        while self._left and self._random.random() < _SHARE_OF_KILLED_VERBS:
            process = self._start(arguments)
            moment_s = self._moment_of_verb()
            code = self._die(process, moment_s, name, made_again=made_again)
            if code not in {-9, 0}:
                raise _Over(self._failure(name, code))
        code = self._server.wait(self._start(arguments), _PATIENCE_S)
        if code != 0:
            raise _Over(self._failure(name, code))
        self._look(made_again)

    def _moment_of_verb(self) -> float:
        return self._random.uniform(0.0, _SHARE_OF_START_UP * self._around.start_up_s)

    def _resume_if_paused(self) -> None:
        if self._known.is_paused:
            self._verb("resume", ["resume", "{database}"])

    def _visit(self) -> None:
        """Now and then somebody exports what is there, or asks the doctor, and is killed."""
        chance = self._random.random()
        if self._known.rows_finished and chance < _SHARE_OF_EXPORTS:
            self._die_in_export()
        elif chance > 1 - _SHARE_OF_DOCTORS:
            before = self._bytes()
            process = self._start(["doctor", "{database}"])
            self._die(process, self._moment_of_verb(), "doctor")
            if self._bytes() != before:
                self._problem("a doctor that was killed changed the file")

    def _die_in_export(self) -> None:
        """An export's file is not there, or whole, with the rows of an earlier export or of this one."""
        before = parquet.read_metadata(self._exported).num_rows if self._exported.exists() else -1
        process = self._start(["export", "--force", "--output", str(self._exported), "{database}"])
        self._die(process, self._moment_of_verb(), "export")
        if not self._exported.exists():
            if before >= 0:
                self._problem("a killed export took away the file of an earlier one")
            return
        rows = parquet.read_table(self._exported).num_rows
        if rows not in {before, self._known.rows_finished}:
            self._problem(f"a killed export left {rows} rows; {before} or {self._known.rows_finished} were expected")

    def _bytes(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self._directory.glob("killed.duckdb*"))]

    # Processes -------------------------------------------------------------------------------------

    def _start(self, arguments: list[str], *, errors: str = "errors.txt", checkpoints: bool = False) -> int:
        named = [argument.format(database=self._database.name) for argument in arguments]
        return self._server.start(named, self._directory, self._directory / errors, frequent_checkpoints=checkpoints)

    def _die(
        self,
        process: int,
        moment_s: float,
        what: str,
        *,
        steering: Iterable[int] = (),
        made_again: Iterable[str] = (),
    ) -> int | None:
        """Kills a process at its moment and looks at what it left; its exit code, -9 if it was not done before."""
        last_moments_s = min(moment_s, LAST_MOMENTS_S)
        self._server.wait(process, moment_s - last_moments_s)
        waited_s = -waited_for_processor_s(process)
        self._server.wait(process, last_moments_s)
        waited_s += waited_for_processor_s(process)
        killed_at_s = time.monotonic()
        code = self._server.kill(process)
        for other in steering:
            # It may still be talking to the dead, or wait for the file; some of them die as well.
            self._server.wait(other, self._random.uniform(0.0, 0.5))
            self._server.kill(other)
        if code == -9:
            self._tally.kills[what] += 1
            self._left = 0 if self._around.is_enough(self._tally.kills.total()) else self._left - 1
        self._look(made_again)
        if code == -9:
            for problem in self._books.count_kill(killed_at_s, self._known.succeeded, max(waited_s, 0.0)):
                self._problem(problem)
        return code

    def _look(self, made_again: Iterable[str] = ()) -> None:
        """Looks at a copy of what is there, as the next process would find it."""
        before, found = self._known, look(self._database, self._directory / "look.duckdb")
        self._known = found
        problems = list(found.problems)
        if found.requests < before.requests:
            problems.append(f"{before.requests} requests were on record before, now {found.requests}")
        again = frozenset(made_again)
        cleared = sum(column in again and cell not in found.values for cell in before.values for column in cell[:1])
        if found.spec_versions == before.spec_versions:
            # A rerun: what is made again is asked for in the same words. With another prompt nothing is.
            self._books.cleared += cleared
            problems += found.lost_since(before, again if cleared else frozenset())
            self._made_again += cleared
        else:
            problems += found.lost_since(before, again)
            self._made_again += sum(column in again for column, _ in before.values)
        self._books.cut_off = found.rows_dropped_by_hand
        if found.succeeded_twice > self._made_again + found.rows_dropped_by_hand:
            problems.append(f"{found.succeeded_twice} cells were made twice, {self._made_again} had to be")
        for problem in problems:
            self._problem(problem)

    def _requests(self) -> int:
        return int(self._around.simulator.statistics()["requests"])

    # The end ---------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Takes back what was steered, lets the run go to its end, and compares that."""
        self._left = 0
        self._resume_if_paused()
        self._verb("retry", _RETRY)
        process = self._start(self._change(self._specs.parts[-1]))
        code = self._server.wait(process, _END_S)
        if code not in {0, 3}:
            self._server.kill(process)
            raise _Over(self._failure("the last run", code))
        self._look(CHANGED_COLUMNS)
        for problem in self._books.excess():
            self._problem(problem)
        found = content_of(self._database)
        for what, wanted in self._around.expected.items():
            if found[what] != wanted:
                differs = [(one, two) for one, two in zip_longest(wanted, found[what]) if one != two]
                self._problem(
                    f"{what} differs from that of the uninterrupted run, in {len(differs)} places: {differs[:3]}"
                )
        row_ids = [row["row_id"] for row in (*found["dataset"], *found["dropped"])]
        if sorted(row_ids) != list(range(self._around.records)):
            self._problem("not every row is there exactly once")
        unpaid = [column for column in PAID_COLUMNS if self._known.missing(column) > self._around.records // 2]
        if unpaid:
            self._problem(f"most rows have no {unpaid}: this run proves nothing")

    def _when(self) -> str:
        return f"life {self._tally.lives + 1}, kill {self._tally.kills.total()}"

    def _problem(self, text: str) -> None:
        self._tally.problems.append(f"{self._when()}: {text}")

    def _failure(self, what: str, code: int | None) -> str:
        text = (self._directory / "errors.txt").read_text(errors="replace").strip()
        return f"{self._when()}: {what} ended with {code}: {text[-2000:] or 'no message'}"
