"""The one table of metrics: their names, kinds, labels and meanings. The help page and the dashboard follow it.

Names begin with ``rowmill_``. Where OpenTelemetry's conventions for generative AI have a name for a thing, or for a
label, it is theirs, written as Prometheus writes it. No label holds a row, a text of a row, or a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a metric may do: a counter only rises, a gauge goes both ways."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``name`` ends in its unit; a counter is exposed with ``_total`` behind it."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def exposed(self) -> str:
        """The name a query uses; of a histogram, the beginning of its three names."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


RUN = "run"
"""The label every metric has: the name of the run."""
_MODEL = "gen_ai_request_model"
_TOKENS = "gen_ai_token_type"

UP = Metric("rowmill_up", Kind.GAUGE, "1 if the run database could be read, else 0. The only one without a run.")
BUILD = Metric("rowmill_build_info", Kind.GAUGE, "1, with the version of Rowmill that reads.", ("version",))
STATE = Metric("rowmill_run_state", Kind.GAUGE, "1 for the state the run is in, 0 for the others.", ("state",))
ROWS = Metric("rowmill_rows", Kind.GAUGE, "Rows: planned, and of those finished and dropped.", ("state",))
ROW_GROUPS = Metric("rowmill_row_groups", Kind.GAUGE, "Row groups: planned, active and finished.", ("state",))
CELLS = Metric(
    "rowmill_cells", Kind.GAUGE, "Cells of a column: done, skipped, dropped, deferred, waiting.", ("column", "state")
)
DROPPED = Metric(
    "rowmill_rows_dropped", Kind.GAUGE, "Dropped rows, by what dropped them.", ("column", "reason", "error_type")
)
DEFERRED = Metric("rowmill_tasks_deferred", Kind.GAUGE, "Tasks that wait for another try.", ("column", "error_type"))
INVOCATIONS = Metric("rowmill_invocations", Kind.COUNTER, "Processes that worked on the run.")
REQUESTS = Metric(
    "rowmill_requests",
    Kind.COUNTER,
    "Requests that ended, by the outcome the view `attempt` shows.",
    ("endpoint", _MODEL, "outcome"),
)
DURATION = Metric(
    "rowmill_gen_ai_client_operation_duration_seconds",
    Kind.HISTOGRAM,
    "How long requests took.",
    ("endpoint", _MODEL),
)
TOKENS = Metric(
    "rowmill_gen_ai_client_token_usage", Kind.COUNTER, "Tokens sent (input) and received (output).", (_MODEL, _TOKENS)
)
COST = Metric("rowmill_cost_usd", Kind.COUNTER, "What requests cost, by the prices of the spec.", (_MODEL,))
CUT_OFF = Metric("rowmill_answers_cut_off", Kind.COUNTER, "Answers that ended at the limit of their length.", (_MODEL,))
IN_FLIGHT = Metric("rowmill_calls_in_flight", Kind.GAUGE, "Calls that run now.", ("endpoint",))
LIMIT = Metric(
    "rowmill_call_limit", Kind.GAUGE, "Calls that may run at once: configured, and learned.", ("endpoint", "kind")
)
COOLING = Metric(
    "rowmill_endpoint_cooling_seconds", Kind.GAUGE, "How long an endpoint still rests; 0 if it does not.", ("endpoint",)
)
WORKERS = Metric(
    "rowmill_workers",
    Kind.GAUGE,
    "Workers elsewhere while a run works: planned, ready, and lost since it began.",
    ("worker_group", "state"),
)
COMMIT_LAG = Metric(
    "rowmill_commit_lag_seconds",
    Kind.HISTOGRAM,
    "How long results waited from their arrival to their commit (D2).",
)
COMMITTED_AT = Metric("rowmill_last_commit_timestamp_seconds", Kind.GAUGE, "When the run last committed (epoch).")
COMMIT_AGE = Metric("rowmill_last_commit_age_seconds", Kind.GAUGE, "How long ago that was.")
SECONDS_LEFT = Metric("rowmill_seconds_left", Kind.GAUGE, "Until the run is done; missing while nobody can tell.")
BUDGET = Metric(
    "rowmill_budget", Kind.GAUGE, "The bounds the spec sets: usd, tokens, requests. Missing without.", ("kind",)
)
BUDGET_LEFT = Metric("rowmill_budget_left", Kind.GAUGE, "What is left of them; never below 0.", ("kind",))

METRICS = (
    UP, BUILD, STATE, ROWS, ROW_GROUPS, CELLS, DROPPED, DEFERRED, INVOCATIONS, REQUESTS, DURATION, TOKENS, COST,
    CUT_OFF, IN_FLIGHT, LIMIT, COOLING, WORKERS, COMMIT_LAG, COMMITTED_AT, COMMIT_AGE, SECONDS_LEFT, BUDGET,
    BUDGET_LEFT,
)  # fmt: skip
