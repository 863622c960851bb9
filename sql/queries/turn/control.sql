/*
Steering by hand: what the verbs pause, resume, limit, drop and retry change. Run inside the transaction that records the
request, by the turn of a living run or directly on one that is stopped.
*/

-- name: insert_control_request
-- Records a request with what became of it. O(1).
insert into state.control_request (
  request_id, verb, arguments, requested_by, requested_at, applied_at, outcome, result, rows_affected
)
values ($request_id, $verb, $arguments, $requested_by, $requested_at, $now, $outcome, $result, $rows_affected);

-- name: known_control_request
-- What became of a request that was made before: a client that lost the answer asks again. O(requests).
select
  outcome,
  result,
  rows_affected
from state.control_request
where request_id = $request_id;

-- name: read_pause
-- Since when and by whom the run is paused; no row if it is not. O(1).
select
  paused_at,
  paused_by
from state.pause;

-- name: pause_run
-- From now on no task is handed out. O(1).
insert into state.pause (paused_at, paused_by)
values ($now, $requested_by);

-- name: resume_run
-- Tasks are handed out again. O(1).
delete from state.pause;

-- name: limits_by_hand
-- The limits people set. O(resources).
select
  resource,
  calls
from state.limit_by_hand;

-- name: delete_limit_by_hand
-- The limit of a resource, or of all tasks in flight (null), is again that of the spec. O(resources).
delete from state.limit_by_hand
where resource is not distinct from $resource;

-- name: insert_limit_by_hand
-- The limit of a resource, or of all tasks in flight (null), until somebody changes it again. O(1).
insert into state.limit_by_hand (resource, calls, set_at, set_by)
values ($resource, $calls, $now, $requested_by);

-- name: set_configured_limit
-- What the view resource shows; a limit that was not learned to be lower follows. O(resources).
update state.resource
set
  learned_limit = case when learned_limit = configured_limit then $calls else least(learned_limit, $calls) end,
  configured_limit = $calls
where resource = $resource;

-- name: rows_to_drop_by_hand
-- Where the rows staged as hand_drop are, and the column that stands for them: a deferred one, else the last. O(live rows).
select
  a.row_group,
  a.row_index,
  coalesce(d.generator, (select max(n.generator) from state.generator as n)) as generator,
  coalesce(d.attempts, 0) as attempts,
  g.state = 'parked' as is_parked
from state.live_row as a
inner join state.admitted_row_group as g on a.row_group = g.row_group and g.state in ('active', 'parked')
semi join hand_drop as h on a.row_id = h.row_id
left join (
  select
    row_group,
    row_index,
    max(generator) as generator,
    max(attempts) as attempts
  from state.deferred_task
  where row_index >= 0
  group by
    row_group,
    row_index
) as d on a.row_group = d.row_group and a.row_index = d.row_index
order by a.row_id;

-- name: delete_parked_deferrals
-- Nothing waits for them any more. O(deferred).
delete from state.deferred_task as d
using new_drop as n
where d.row_group = n.row_group and d.row_index = n.row_index;

-- name: retry_deferred_tasks
-- The deferred tasks staged as hand_retry become ready now; their attempts still count. O(deferred).
update state.deferred_task as d
set not_before = $now
from hand_retry as h, state.generator as g
where
  g.name = h.generator
  and d.generator = g.generator
  and d.row_group = h.row_group
  and d.row_index = h.row_index
  and d.not_before > $now
returning d.generator;

-- name: live_row_ids
-- The rows that are worked on and meet a condition, as ranges of row_id. O(live rows).
select
  min(m.row_id) as first_row,
  max(m.row_id) as last_row
from (
  select
    l.row_id,
    l.row_id - row_number() over (order by l.row_id) as island
  from (select * from main.live_row where {predicate}) as l
) as m
group by m.island
order by first_row;

-- name: deferred_tasks_where
-- The deferred tasks that meet a condition. O(deferred).
select
  t.generator,
  t.row_group,
  coalesce(t.row_index, -1) as row_index
from (select * from main.deferred_task where {predicate}) as t
order by all;

-- name: dropped_rows_among
-- Those of the rows staged as hand_revival that are dropped. O(dropped rows).
select
  d.row_group,
  d.row_index
from state.dropped_row as d
semi join hand_revival as h on d.row_group = h.row_group and d.row_index = h.row_index
order by d.row_id;

-- name: dropped_rows_of_view
-- The dropped rows that meet a reader's condition on the views dropped_row and dropped_row_value. O(dropped rows).
select
  d.row_group,
  d.row_index
from (
  select
    r.*,
    v.* exclude (row_id)
  from dropped_row as r
  left join dropped_row_value as v on r.row_id = v.row_id
) as d
where {predicate}
order by d.row_id;
