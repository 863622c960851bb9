/*
What a turn does with the outcomes that arrived: values into the working set, failures into
deferrals and drops, requests into the journal. All of it is written so that doing it twice changes nothing
(R9). Each registered table (outcome_1, undeferred_task, …) is an Arrow table of this turn's outcomes.
Slot {rows_of}: the table dropped rows leave, active_row or parked_row.
*/

-- name: write_values
-- Puts the results of one generator into its rows; rows that are gone or done stay as they are. O(active rows).
update state.active_row as a
set {assignments}, {set_done}
from {outcome} as o
where a.row_group = o.row_group and a.row_index = o.row_index and {not_done};

-- name: write_values_together
-- The same for several generators at once: a statement costs more to plan than a few hundred results to write. A row may
-- have results of more than one generator; each result has its generator's bit. O(active rows).
update state.active_row as a
set {assignments}, {set_done}
from (
  select
    row_group,
    row_index,
    {merged}
  from outcome_together
  group by
    row_group,
    row_index
) as o
where a.row_group = o.row_group and a.row_index = o.row_index;

-- name: write_skips
-- Marks cells whose skip.when was true: done, skipped, holding skip.value, side effects null (S1). O(active rows).
update state.active_row as a
set {assignments}, {set_done}, {set_skipped}
from skipped_task as o
where o.generator = $generator and a.row_group = o.row_group and a.row_index = o.row_index and {not_done};

-- name: clear_deferred
-- Deferred tasks that ended are deferred no more. O(deferred).
delete from state.deferred_task as f
using undeferred_task as d
where f.generator = d.generator and f.row_group = d.row_group and f.row_index = d.row_index;

-- name: merge_deferred
-- Defers tasks of live rows until their own not_before (F4); how long a task has been deferred in all stays known. O(deferred).
merge into state.deferred_task as f
using (
  select n.*
  from new_deferral as n
  semi join state.frontier as r
    on n.generator = r.generator and n.row_group = r.row_group and n.row_index = r.row_index
) as n
  on f.generator = n.generator and f.row_group = n.row_group and f.row_index = n.row_index
when matched then
  update set
    attempts = n.attempts,
    error_type = n.error_type,
    message = n.message,
    not_before = n.not_before,
    deferred_at = $now,
    deferrals = f.deferrals + 1
when not matched then
  insert (generator, row_group, row_index, attempts, error_type, message, not_before, deferred_at, first_deferred_at, deferrals)
  values (n.generator, n.row_group, n.row_index, n.attempts, n.error_type, n.message, n.not_before, $now, $now, 1);

-- name: tasks_to_give_up
-- Deferred tasks whose patience (give_up_after_s, $deferred_before) has run out (F1). O(deferred).
select
  generator,
  row_group,
  row_index,
  attempts,
  error_type,
  message
from state.deferred_task
where first_deferred_at <= $deferred_before and not_before > $now
order by
  generator,
  row_group,
  row_index;

-- name: endpoints_that_refuse
-- Since when which endpoints have refused every call (F1). O(endpoints).
select
  resource,
  since
from state.refusal;

-- name: local_generators_that_refuse
-- Local generators that were rate limited and have not succeeded since, and when the next of their tasks may start. O(columns + deferred).
select
  t.generator,
  min(d.not_before) as not_before
from state.refusal as r
inner join state.task_generator as t on r.resource = t.key and t.is_local
left join state.deferred_task as d on t.generator = d.generator
group by t.generator;

-- name: begin_refusal
-- An endpoint, or a local generator, begins to refuse. O(1).
insert into state.refusal
values ($resource, $now);

-- name: end_refusal
-- An endpoint has answered, or a local generator succeeded. O(endpoints).
delete from state.refusal
where resource = $resource;

-- name: tasks_behind_endpoint
-- Tasks that wait for an endpoint: deferred ones, and those that are ready and may not be skipped. Not those in flight. O(active rows).
select
  f.generator,
  f.row_group,
  f.row_index,
  f.attempts
from state.frontier as f
anti join in_flight as i
  on f.generator = i.generator and f.row_group = i.row_group and f.row_index = i.row_index
where f.resource = $resource and (f.not_before is not null or not list_contains($skippable, f.generator))
order by
  f.generator,
  f.row_group,
  f.row_index;

-- name: record_drops
-- Gives rows up with their reason; the first reason counts, rows already gone are left alone (R9). O(rows of the table).
insert into state.dropped_row (
  row_id, row_group, row_index, generator, reason, error_type, message, attempts, dropped_at, source_line
)
select
  a.row_id,
  a.row_group,
  a.row_index,
  n.generator,
  n.reason,
  n.error_type,
  n.message,
  n.attempts,
  $now,
  n.source_line
from state.{rows_of} as a
inner join new_drop as n on a.row_group = n.row_group and a.row_index = n.row_index
qualify row_number() over (partition by a.row_id order by n.generator) = 1;

-- name: keep_dropped_values
-- The values of dropped rows rest beside them: a revived row starts from what was paid for. O(rows of the table).
insert into state.dropped_row_value
select a.*
from state.{rows_of} as a
semi join new_drop as n on a.row_group = n.row_group and a.row_index = n.row_index;

-- name: delete_dropped_rows
-- Takes dropped rows out of the working set. O(rows of the table).
delete from state.{rows_of} as a
using new_drop as n
where a.row_group = n.row_group and a.row_index = n.row_index;

-- name: delete_stale_deferrals
-- Deferrals of tasks that are none any more: the row is gone, or nothing of the row group is left to do (R4). O(active rows).
delete from state.deferred_task as f
where
  f.row_group in (select g.row_group from state.admitted_row_group as g where g.state = 'active')
  and (f.generator, f.row_group, f.row_index) not in (
    select (r.generator, r.row_group, r.row_index) from state.frontier as r
  );

-- name: insert_attempts
-- Journals requests and failed calls, also those whose row is gone: their cost is real (R9). O(attempts).
insert into state.attempt by name
select * from new_attempt;

-- name: total_attempts
-- Sums up the attempts of earlier turns that are not summed up yet: status reads sums, not requests (D4). O(those attempts).
insert into state.usage_total by name
select * from state.usage_tail;

-- name: budget_share
-- Which part of the run's budget is this database's: 1, or of a shard its part of all rows. O(1).
select coalesce(max((s.end_row - s.first_row) / greatest(s.records, 1)), 1.0)::double as part
from state.shard as s;

-- name: used_so_far
-- What all requests of this run have used, for its budget; once an invocation. O(sums + attempts not summed up yet).
select
  coalesce(sum(attempts) filter (where model is not null), 0)::bigint as requests,
  least(coalesce(sum(input_tokens::hugeint + output_tokens), 0), 9223372036854775807)::bigint as tokens,
  coalesce(sum(cost_usd), 0.0)::double as cost_usd
from state.usage_sum;

-- name: used_by_new_attempts
-- The same for the attempts of this turn. O(attempts).
select
  count(model) as requests,
  least(coalesce(sum(input_tokens::hugeint + output_tokens), 0), 9223372036854775807)::bigint as tokens,
  coalesce(sum(cost_usd), 0.0)::double as cost_usd
from new_attempt;

-- name: live_rows_of_group
-- The rows a batch task stands for: live, not done by its generator (S5), and still what they were when it went out. O(active rows).
select a.row_index
from state.active_row as a
where
  a.row_group = $row_group
  and {not_done}
  and a.row_index not in (
    select o.row_index from outdated_task as o where o.generator = $generator and o.row_group = $row_group
  )
order by a.row_index;

-- name: learn_limits
-- What the dispatcher has learned of how many calls a resource takes at once (C2). O(resources).
update state.resource as r
set learned_limit = least(n.learned_limit, r.configured_limit)
from new_limit as n
where r.resource = n.resource;

-- name: keep_generator_state
-- What an ordered generator is to get back on its next call, committed with its result (R10). O(ordered generators).
merge into state.generator_state as s
using new_state as n on s.generator = n.generator
when matched then update set row_group = n.row_group, "state" = n."state"
when not matched then
  insert (generator, row_group, "state")
  values (n.generator, n.row_group, n."state");

-- name: cool_resources
-- Endpoints that answered 429: nothing starts there before cooling_until. O(resources).
update state.resource as r
set cooling_until = greatest(coalesce(r.cooling_until, n.cooling_until), n.cooling_until), reason = n.reason
from new_cooling as n
where r.resource = n.resource;
