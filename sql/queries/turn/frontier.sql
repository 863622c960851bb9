/*
The pull: which ready tasks are handed out now, with the values they need. In-flight marks are true of the living
process only and vanish with it: in_flight (generator, row_group, row_index) is read from its memory.
*/

-- name: pull_ready_tasks
-- Ready tasks with the values they need: per resource no more than is free, fair between generators, lowest row group
-- first (C3, C4); in the order they are to start, which takes turns between generators call by call, as a call may take several
-- rows. A task deferred into the future is left alone (F4). Ordered by one column, and bounded by one number for all ($most), the
-- first selection is made without sorting all candidates. O(active rows).
with capacity as (
  select
    unnest($resources::varchar[]) as resource,
    unnest($free::bigint[]) as free
),

fair_share as (
  select
    unnest($generators::integer[]) as generator,
    unnest($next_tags::double[]) as next_tag,
    unnest($steps::double[]) as step,
    unnest($rows_per_call::bigint[]) as rows_per_call
),

candidate as (
  select
    f.generator,
    f.resource,
    f.row_group,
    f.row_index,
    f.row_id,
    f.attempts,
    f.deferrals,
    c.free,
    row_number() over (partition by f.generator order by f.row_id) as place
  from state.frontier as f
  inner join capacity as c on f.resource = c.resource
  anti join in_flight as i
    on f.generator = i.generator and f.row_group = i.row_group and f.row_index = i.row_index
  where f.not_before is null or f.not_before <= $now
  qualify place <= $most
),

ordered as (
  select
    c.generator,
    c.row_group,
    c.row_index,
    c.row_id,
    c.attempts,
    c.deferrals,
    c.free,
    s.next_tag + ((c.place - 1) // s.rows_per_call) * s.rows_per_call * s.step as call_tag,
    row_number() over (
      partition by c.resource order by s.next_tag + (c.place - 1) * s.step, c.generator, c.row_group, c.row_index
    ) as place
  from candidate as c
  inner join fair_share as s on c.generator = s.generator
)

select
  i.generator,
  i.row_group,
  i.row_index,
  i.attempts,
  i.deferrals,
  i.row_id,
  {inputs}
from ordered as i
left join state.active_row as a on i.row_group = a.row_group and i.row_index = a.row_index
where i.place <= i.free
order by
  i.call_tag,
  i.generator,
  i.row_group,
  i.row_index;

-- name: pull_of_single_generators
-- The same where no resource has more than one generator: nothing is to be shared, which saves a window and a third of the
-- time. O(active rows).
select
  i.generator,
  i.row_group,
  i.row_index,
  i.attempts,
  i.deferrals,
  i.row_id,
  {inputs}
from (
  select f.*
  from state.frontier as f
  inner join (
    select
      unnest($resources::varchar[]) as resource,
      unnest($free::bigint[]) as free
  ) as c on f.resource = c.resource
  anti join in_flight as m
    on f.generator = m.generator and f.row_group = m.row_group and f.row_index = m.row_index
  where f.not_before is null or f.not_before <= $now
  qualify row_number() over (partition by f.generator order by f.row_id) <= c.free
) as i
left join state.active_row as a on i.row_group = a.row_group and i.row_index = a.row_index
order by
  i.row_id,
  i.generator;

-- name: batch_rows
-- The rows and input values of one batch task: live, unskipped rows of the row group (S5). O(active rows).
select
  a.row_index,
  a.row_id,
  {inputs}
from state.active_row as a
where a.row_group = $row_group and {not_done}
order by a.row_index;

-- name: read_generator_state
-- What the last call of an ordered generator returned, null before its first (R10). O(ordered generators).
select "state"
from state.generator_state
where generator = $generator;

-- name: active_row_count
-- How many rows are in the working set. O(1).
select count(*) as active_rows
from state.active_row;

-- name: deferred_summary
-- How many tasks are deferred, and when the next one becomes ready. O(deferred).
select
  count(*) as deferred,
  min(not_before) filter (where not_before > $now) as next_not_before
from state.deferred_task;

-- name: cursor_summary
-- How far the plan is used up. O(segments).
select
  r.next_row_group,
  coalesce((select max(p.first_row_group + p.row_groups) from state.plan_segment as p), 0)::bigint as row_groups
from state.run as r;
