"""What a kill may cost (D2): the calls that were in flight, and the answers of one commit window.

A kill *loses* the answers that the server gave and the database does not know of. It may lose those of the last
commit window, 50 ms. Two things are added to that window, since the rule speaks of a process that can work:

- the turn under way, which writes the answers of the window before: at most 100 ms, with a checkpoint in it;
- the time the threads of the killed process waited for a processor in its last moments, as the kernel counts it:
  on a busy machine that may be longer than any window.

Calls that a person cut off by dropping their rows may be answered all the same, and nobody needs those answers.

A request is *asked again* if its exact body was answered before. Between two kills there must be for each an answer
that kills have lost and nobody has committed since, or a cell that ``rerun`` cleared, or a failure (503) for which it
was asked once more. So what is committed is not asked again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from provider_simulator import RunningSimulator

COMMIT_WINDOW_S = 0.050
TURN_S = 0.100
LAST_MOMENTS_S = 0.300
"""How long before a kill the waiting of the process is counted."""
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Cost:
    """What one kill costs: the calls that are made again for it."""

    lost: int
    """Answers that were given and never committed."""
    in_flight: int
    """Calls that were cut off."""
    bound: int
    """How many calls a kill may cost at that moment: all that may be in flight, and the answers of the window."""

    @property
    def repeated(self) -> int:
        """Calls made again."""
        return self.lost + self.in_flight


@dataclass
class AskedAgain:
    """The books of one simulator since its reset."""

    simulator: RunningSimulator
    in_flight: int
    """Requests at once, at most."""
    lost: int = 0
    """Answers the kills have lost."""
    cleared: int = 0
    """Cells with a committed answer that were cleared on purpose, with the same prompt."""
    cut_off: int = 0
    """Rows dropped by hand."""
    kills_over_window: int = 0
    """Kills that lost more than the answers of 50 ms, for the reasons above."""
    oldest_lost_s: float = 0.0
    """The age of the oldest answer a kill lost."""
    _disconnected: int = 0
    _cut_off_before: int = 0
    _asked_again_before: int = 0
    _failed_before: int = 0
    _uncommitted: int = 0
    """Of the bodies that were answered, those without a committed answer, at the last kill; less what was cleared."""
    costs: list[Cost] = field(default_factory=list)
    """Of each kill."""

    def count_kill(self, killed_at_s: float, succeeded: int, waited_s: float) -> Iterator[str]:
        """Books a kill of a process at work: what is wrong with it.

        ``killed_at_s``: by the monotonic clock; ``succeeded``: requests the database knows an answer of;
        ``waited_s``: for a processor, in the last moments.
        """
        statistics = self._settled()
        disconnected = statistics["by_status"].get("disconnected", 0)
        in_flight, self._disconnected = disconnected - self._disconnected, disconnected
        answered = statistics["answered"]
        lost, self.lost = answered - succeeded - self.lost, answered - succeeded
        yield from self.excess()
        self._asked_again_before = statistics["repeated_bodies"]
        self._failed_before = statistics["by_status"].get("503", 0)
        self._uncommitted = statistics["distinct_answered"] - succeeded
        cut_off, self._cut_off_before = self.cut_off - self._cut_off_before, self.cut_off
        answers = sorted(self.simulator.answered_at_s(), reverse=True)
        if lost > 0:
            age_s = killed_at_s - answers[min(lost, len(answers)) - 1]
            self.oldest_lost_s = max(self.oldest_lost_s, age_s)
            self.kills_over_window += age_s > COMMIT_WINDOW_S
        window_s = COMMIT_WINDOW_S + TURN_S + waited_s
        allowed = sum(answered_at > killed_at_s - window_s for answered_at in answers) + cut_off
        self.costs.append(Cost(lost, in_flight, self.in_flight + cut_off + allowed))
        if lost < 0:
            yield f"the database knows of {-lost} answers nobody gave"
        if lost > allowed:
            yield (
                f"{lost} answers are lost, the oldest {1000 * age_s:.0f} ms old; {allowed} were given in the last "
                f"{1000 * window_s:.0f} ms ({1000 * waited_s:.0f} ms of them waiting for a processor)"
            )
        if in_flight > self.in_flight + cut_off:
            yield f"{in_flight} requests were in flight, {self.in_flight} are allowed"

    def excess(self) -> Iterator[str]:
        """What is wrong with the requests asked again since the last kill."""
        statistics = self.simulator.statistics()
        asked_again = statistics["repeated_bodies"] - self._asked_again_before
        failed = statistics["by_status"].get("503", 0) - self._failed_before
        if asked_again > self._uncommitted + self.cleared + self.cut_off + failed:
            yield (
                f"{asked_again} answers were asked for again since the last kill; {self._uncommitted} were not "
                f"committed then, {self.cleared} were cleared, {self.cut_off} cut off, {failed} failed"
            )

    def _settled(self) -> dict[str, Any]:
        """The statistics, when the server has noticed that its client is gone."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            statistics = self.simulator.statistics()
            if not statistics["in_flight"] or time.monotonic() > until:
                return statistics
            time.sleep(0.002)
