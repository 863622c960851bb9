/*
The pull: which ready tasks are handed out now, with the values they need, marked in flight. In-flight
marks are true of the living process only, so they are in a TEMP table: they take part in the turn's transaction
and vanish with the process.
*/

-- name: create_in_flight
-- The marks of handed-out tasks; run once per connection. O(1).
create temp table in_flight (
  generator integer not null,
  row_group bigint not null,
  row_index bigint not null,
  turn bigint not null,
  attempts integer not null
);

-- name: pull_ready_tasks
-- Marks ready tasks in flight: per resource no more than is free, fair between generators, lowest row group first
-- (C3, C4). A task deferred into the future is left alone (F4). O(active rows).
insert into in_flight (generator, row_group, row_index, turn, attempts)
with capacity as (
  select
    unnest($resources::varchar[]) as resource,
    unnest($free::bigint[]) as free
),

fair_share as (
  select
    unnest($generators::integer[]) as generator,
    unnest($next_tags::double[]) as next_tag,
    unnest($steps::double[]) as step
),

candidate as (
  select
    f.generator,
    f.resource,
    f.row_group,
    f.row_index,
    f.attempts,
    c.free,
    row_number() over (partition by f.generator order by f.row_group, f.row_index) as place
  from state.frontier as f
  inner join capacity as c on f.resource = c.resource
  anti join in_flight as i
    on f.generator = i.generator and f.row_group = i.row_group and f.row_index = i.row_index
  where f.not_before is null or f.not_before <= $now
  qualify place <= c.free
),

ordered as (
  select
    c.generator,
    c.row_group,
    c.row_index,
    c.attempts,
    c.free,
    row_number() over (
      partition by c.resource order by s.next_tag + c.place * s.step, c.generator, c.row_group, c.row_index
    ) as place
  from candidate as c
  inner join fair_share as s on c.generator = s.generator
)

select
  generator,
  row_group,
  row_index,
  $turn,
  attempts
from ordered
where place <= free;

-- name: pulled_cells
-- The cell tasks of this turn with their input values, lowest row group first. O(active rows).
select
  i.generator,
  i.row_group,
  i.row_index,
  i.attempts,
  a.row_id,
  {inputs}
from in_flight as i
inner join state.active_row as a on i.row_group = a.row_group and i.row_index = a.row_index
where i.turn = $turn
order by
  i.generator,
  i.row_group,
  i.row_index;

-- name: pulled_batches
-- The batch tasks of this turn. O(in flight).
select
  generator,
  row_group,
  attempts
from in_flight
where turn = $turn and row_index = -1
order by
  generator,
  row_group;

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

-- name: task_summary
-- Is anything left, in flight, deferred or parked, and when does the next deferral pass? O(active groups + deferred).
select
  (select count(*) from state.active_row_group) as row_groups_active,
  (select count(*) from in_flight) as in_flight,
  (
    (select count(*) from state.deferred_task)
    + (select count(*) from state.active_row_group as g where g.parked_for is not null)
  ) as patient,
  (
    select min(d.not_before)
    from state.deferred_task as d
    inner join state.active_row_group as g on d.row_group = g.row_group
    where d.not_before > $now and g.parked_for is null
  ) as next_not_before,
  (
    select r.next_row_group < coalesce((select sum(p.row_groups) from state.plan_segment as p), 0)
    from state.run as r
  ) as has_groups_left;
