"""A run with as many finished rows as one likes, written by SQL because no test has the time to make them."""

from __future__ import annotations

from pathlib import Path

from run_state import RunState, moment
from virtual_run import expression, llm, model, prepared, sampler

_ROWS = """
insert into state.dataset_row by name
select
  i // $size as row_group,
  i % $size as row_index,
  i as row_id,
  15 as done_0,
  0 as skipped_0,
  1 + i % 5 as rating,
  ['red', 'green', 'blue'][1 + i % 3] as colour,
  10 * (1 + i % 5) as points,
  'A note about number ' || i || ', which is as long as a short sentence is.' as note
from range($first, $last) as r(i)
where i % $drop_every <> 7
"""
_DROPPED = """
insert into state.dropped_row
select i, i // $size, i % $size, $generator, 'rejected', 'HTTP 400', 'no such prompt: ' || i, 1, $now, null
from range($first, $last) as r(i)
where i % $drop_every = 7
"""
_GROUPS = """
insert into state.finished_row_group by name
select
  g as row_group,
  g * $size as first_row,
  $size as row_count,
  $size - dropped as rows_finished,
  coalesce(dropped, 0) as rows_dropped,
  $began + to_milliseconds(g * 36) as admitted_at,
  $began + to_milliseconds(g * 36 + 30000) as finished_at
from (
  select i // $size as g, count(*) filter (where i % $drop_every = 7) as dropped
  from range($rows) as r(i)
  group by all
)
order by g
"""
_ATTEMPTS = """
insert into state.attempt by name
select
  1 as invocation,
  $generator as generator,
  i // $size as row_group,
  i % $size as row_index,
  i as row_id,
  1 as attempt,
  case when i % $drop_every = 7 then 'rejected' else 'succeeded' end as outcome,
  case when i % $drop_every = 7 then 'HTTP 400' end as error_type,
  case when i % $drop_every = 7 then 'no such prompt: ' || i end as message,
  'writer' as model,
  $began + to_microseconds(i * 3600 + 100000 * (i % 7)) as started_at,
  350 + i % 100 as duration_ms,
  100 as input_tokens,
  30 as output_tokens,
  0 as cached_tokens,
  0 as cache_write_tokens,
  0.0001 as cost_usd
from range($first, $last) as r(i)
"""
_TOTALS = """
insert into state.usage_total
select
  invocation, generator, model, date_trunc('hour', started_at), count(*), count(*) filter (where error_type is null),
  count(error_type), sum(duration_ms), sum(input_tokens), sum(output_tokens), sum(cost_usd), max(started_at),
  count(*) filter (where finish_reason = 'length'), sum(cached_tokens), sum(cache_write_tokens), count(cost_usd)
from state.attempt
group by all
"""
_SLICE = 500_000


def finished_run(
    path: Path | None, row_groups: int, row_group_size: int = 100, *, drop_every: int = 1000, more: int = 2
) -> RunState:
    """A run of which ``row_groups`` row groups are finished, each row but every ``drop_every``-th with a request.

    ``more`` row groups are left to do; the run is open, and no turn was taken.
    """
    columns = (
        sampler("rating"),
        sampler("colour", values=["red", "green", "blue"]),
        expression("points", "rating * 10"),
        llm("note", "Write about {{ colour }}."),
    )
    rows = row_groups * row_group_size
    spec = prepared(*columns, models=[model()], records=rows + more * row_group_size, row_group_size=row_group_size)
    state = RunState(spec, path)
    known = {"size": row_group_size, "drop_every": drop_every}
    note = {"generator": state.number("note")}
    took_s = rows * 0.0036
    with state.store.connection.transaction():
        for first in range(0, rows, _SLICE):
            part = {**known, "first": first, "last": min(first + _SLICE, rows)}
            state.sql(_ROWS, **part)
            state.sql(_DROPPED, **part, **note, now=moment(0))
            state.sql(_ATTEMPTS, **part, **note, began=moment(-took_s))
        state.sql(_GROUPS, **known, rows=rows, began=moment(-took_s))
        state.sql(_TOTALS)
        state.sql(
            "update state.run set next_row_group = $next, started_at = $began", next=row_groups, began=moment(-took_s)
        )
        state.sql("update state.invocation set started_at = $began", began=moment(-took_s))
    return state
