/*
Barriers (R6): generators of strategy `dataset` see all rows at once. While one is open, row groups come as far as they can without
it and wait; when all are there it runs, in one transaction: what it decided is written slice by slice of the rows, so that memory holds
a slice; then the row groups follow. Rows that are in the dataset already, because the run was extended, take part; those of which the
result did not change stay there.

Staged for each slice: barrier_decision (row_id, row_group, row_index, was_dropped, keep, message, value_0, …) and barrier_change (row_id).
Slots: {generator_rows} is barrier_rows, filled; {values} the outputs as value_0, …; {is_new} true for a row `t` that the decision
`d` changes; {decided} what such a row becomes; {is_later} true for a row `d` that something after the barrier dropped.
*/

-- name: closed_barriers
-- Barriers that ran over all rows that are there. O(barriers).
select generator
from state.barrier
where not is_open;

-- name: ready_barrier
-- The barrier that can run now, if any. O(segments + admitted row groups).
select generator
from state.ready_barrier;

-- name: row_groups_to_hold_back
-- Active row groups that are complete as far as they can be while a barrier is open, with no call under way for a live row. O(active rows).
select d.row_group
from state.row_group_done as d
where
  d.live_rows > 0
  and ({all_done})
  and d.row_group not in (
    select i.row_group
    from in_flight as i
    inner join state.active_row as a on i.row_group = a.row_group and i.row_index in (a.row_index, -1)
  );

-- name: hold_rows_back
-- Their rows leave the frontier's tables. O(active rows).
insert into state.parked_row ({columns})
select {columns}
from state.active_row
where row_group in (select unnest($row_groups::bigint[]))
order by row_id;

-- name: delete_deferrals_of_held
-- Tasks that come after a barrier that is open again wait for it, not for their time. O(deferred).
delete from state.deferred_task
where row_group in (select unnest($row_groups::bigint[]));

-- name: skip_rows_of_barrier
-- Skips a barrier's cells of which something required was skipped: it does not see those rows (S2). O(parked rows).
update state.parked_row
set {assignments}, {set_done}, {set_skipped}
where {upstream_done} and {not_done} and ({upstream_skipped});

-- name: barrier_rows
-- The rows a barrier looks at, with what it reads: those that live, and those that were dropped after they had passed it. O(rows).
select
  a.row_id,
  a.row_group,
  a.row_index,
  a.was_dropped,
  {inputs}
from (
  select
    {columns},
    false as was_dropped
  from state.parked_row
  union all
  select
    {columns},
    false as was_dropped
  from state.dataset_row
  union all
  select
    {columns},
    true as was_dropped
  from state.dropped_row_value
  where {is_done} and row_id in (select d.row_id from state.dropped_row as d where {is_later})
) as a
where {upstream_done} and not ({is_skipped});

-- name: decide_duplicates
-- Of rows that are equal in the keys, the first stays. O(rows log rows).
create or replace temp table barrier_decided as
select
  row_id,
  row_group,
  row_index,
  was_dropped,
  first_row_id = row_id as keep,
  case when first_row_id <> row_id then 'a duplicate of row ' || first_row_id end as message,
  true as value_0
from (
  select
    r.row_id,
    r.row_group,
    r.row_index,
    r.was_dropped,
    first_value(r.row_id) over (partition by {keys} order by {order_by} r.row_id) as first_row_id
  from ({generator_rows}) as r
)
order by row_id;

-- name: decide_value
-- Every row gets a value that may depend on all others. O(rows log rows).
create or replace temp table barrier_decided as
select
  {values},
  r.row_id,
  r.row_group,
  r.row_index,
  r.was_dropped,
  true as keep,
  null::varchar as message
from ({generator_rows}) as r
order by r.row_id;

-- name: decide_selection
-- Rows for which a condition over the dataset is not true are dropped. O(rows log rows).
create or replace temp table barrier_decided as
select
  coalesce({predicate}, false) as keep,
  r.row_id,
  r.row_group,
  r.row_index,
  r.was_dropped,
  $message as message,
  true as value_0
from ({generator_rows}) as r
order by r.row_id;

-- name: take_result
-- The result of a task over the dataset, staged as barrier_result, as it came. O(rows).
create or replace temp table barrier_returned as
select *
from barrier_result;

-- name: result_problem
-- What is wrong with the row ids of a result: how many are missing, foreign and repeated, with an example of each. O(rows of the slice).
select
  count(*) filter (where b.row_id is null) as missing,
  min(r.row_id) filter (where b.row_id is null) as missing_example,
  count(*) filter (where r.row_id is null) as foreign_rows,
  min(b.row_id) filter (where r.row_id is null) as foreign_example,
  count(*) filter (where b.times > 1) as repeated,
  min(b.row_id) filter (where b.times > 1) as repeated_example
from (
  select g.row_id
  from ({generator_rows}) as g
  where g.row_id between $first_row and $last_row
) as r
full join (
  select
    row_id,
    count(*) as times
  from barrier_returned
  where row_id between $first_row and $last_row
  group by row_id
) as b on r.row_id = b.row_id;

-- name: decide_by_result
-- Rows that a task's result lacks are dropped. O(rows of the slice).
select
  r.row_id,
  r.row_group,
  r.row_index,
  r.was_dropped,
  b.row_id is not null as keep,
  $message as message,
  {values}
from ({generator_rows}) as r
left join (
  select *
  from barrier_returned
  where row_id between $first_row and $last_row
) as b on r.row_id = b.row_id
where r.row_id between $first_row and $last_row;

-- name: decided_slice
-- What was decided in the database about a slice of the rows. O(rows of the slice, by zone maps).
select *
from barrier_decided
where row_id between $first_row and $last_row;

-- name: delete_overruled_drops
-- Rows that something after the barrier gave up and that it does not let pass any more: it would have come first. O(rows of the slice).
delete from state.dropped_row
where row_id in (select d.row_id from barrier_decision as d where not d.keep and d.was_dropped);

-- name: record_decided_drops
-- Gives the rows up that the barrier does not keep. O(rows of the slice).
insert into state.dropped_row (
  row_id, row_group, row_index, generator, reason, error_type, message, attempts, dropped_at
)
select
  d.row_id,
  d.row_group,
  d.row_index,
  $generator,
  $reason,
  null,
  d.message,
  0,
  $now
from barrier_decision as d
where not d.keep
order by d.row_id;

-- name: keep_decided_values
-- The values of dropped rows rest beside them, those of columns after the barrier too. O(rows of the slice).
insert into state.dropped_row_value ({columns})
select {columns}
from (
  select {columns}
  from state.parked_row
  union all
  select {columns}
  from state.dataset_row
) as a
where a.row_id in (select d.row_id from barrier_decision as d where not d.keep and not d.was_dropped)
order by a.row_id;

-- name: delete_decided_parked
-- Takes dropped rows out of those that wait. O(rows of the slice).
delete from state.parked_row
where row_id in (select d.row_id from barrier_decision as d where not d.keep);

-- name: delete_decided_finished
-- Takes dropped rows out of the dataset. O(rows of the slice).
delete from state.dataset_row
where row_id in (select d.row_id from barrier_decision as d where not d.keep);

-- name: note_changed_rows
-- Rows that do not wait whose result changed: finished ones, and some that were dropped after the barrier. O(rows of the slice).
select t.row_id
from state.dataset_row as t
inner join barrier_decision as d on t.row_id = d.row_id
where d.keep and ({is_new})
union all
select t.row_id
from state.dropped_row_value as t
inner join barrier_decision as d on t.row_id = d.row_id
where d.keep and d.was_dropped and ({is_new});

-- name: move_changed_rows
-- What comes after the barrier is made again for those rows: they are parked until their turn. O(rows of the slice).
insert into state.parked_row ({columns})
select {columns}
from (
  select {columns}
  from state.dataset_row
  union all
  select {columns}
  from state.dropped_row_value
) as a
where a.row_id in (select c.row_id from barrier_change as c)
order by a.row_id;

-- name: delete_changed_finished
-- They are in the dataset no more. O(rows of the slice).
delete from state.dataset_row
where row_id in (select c.row_id from barrier_change as c);

-- name: delete_changed_drops
-- They are dropped no more. O(rows of the slice).
delete from state.dropped_row
where row_id in (select c.row_id from barrier_change as c);

-- name: delete_changed_drop_values
-- Their values are among the parked rows again. O(rows of the slice).
delete from state.dropped_row_value
where row_id in (select c.row_id from barrier_change as c);

-- name: write_decided_rows
-- The barrier's values enter the rows where they are new; what was made after it from other values counts no more. The rows are written
-- anew and not updated: an update keeps what it changed in memory until the commit. O(rows of the slice).
insert into state.parked_row
select t.* replace ({decided})
from state.parked_row as t
inner join barrier_decision as d on t.row_id = d.row_id
where d.keep and ({is_new})
order by t.row_id;

-- name: delete_undecided_rows
-- They are there once: as they were before the barrier they go. O(rows of the slice).
delete from state.parked_row as t
using barrier_decision as d
where t.row_id = d.row_id and d.keep and ({is_new});

-- name: finished_facts
-- What is recorded of those finished row groups. O(row groups).
select
  row_group,
  rows_finished,
  rows_dropped
from state.finished_row_group
where row_group in (select unnest($row_groups::bigint[]))
order by row_group;

-- name: forget_finished_skips
-- Rows left the dataset: the skip counts of its row groups are counted again. O(row groups).
delete from state.finished_skip;

-- name: count_finished_skips
-- How many cells of each generator are skipped in the dataset, for each row group (S3). O(rows).
insert into state.finished_skip (row_group, generator, skipped)
select
  a.row_group,
  g.generator,
  count(*)
from state.dataset_row as a
inner join state.generator as g on {is_skipped_of_a}
group by
  a.row_group,
  g.generator;

-- name: forget_barrier
-- The facts of the barrier's last run make room for those of this one. O(barriers).
delete from state.barrier
where generator = $generator;

-- name: close_barrier
-- The barrier ran over all rows that are there. O(1).
insert into state.barrier (generator, is_open, completed_at, rows_in, rows_out)
values ($generator, false, $now, $rows_in, $rows_out);

-- name: clear_decided
-- Lets go of what the barrier decided. O(1).
drop table if exists barrier_decided;

-- name: clear_returned
-- Lets go of what the barrier's task returned. O(1).
drop table if exists barrier_returned;

-- name: stale_barriers
-- Closed barriers that have not seen all rows: some are not admitted yet, or live without the barrier's bit. O(live rows).
select generator
from state.stale_barrier
order by generator;

-- name: reopen_barriers
-- These barriers have to run again. O(barriers).
update state.barrier
set is_open = true
where generator in (select unnest($generators::integer[]));

-- name: activate_returning_rows
-- Rows the barrier dropped in row groups that are active come back there. O(dropped rows).
insert into state.active_row
select v.*
from state.dropped_row_value as v
semi join state.dropped_row as d
  on v.row_id = d.row_id and d.generator in (select unnest($generators::integer[]))
semi join state.admitted_row_group as g on v.row_group = g.row_group and g.state = 'active';

-- name: park_returning_rows
-- All others the barrier dropped are parked with the rows of their row groups. O(dropped rows).
insert into state.parked_row
select v.*
from state.dropped_row_value as v
semi join state.dropped_row as d
  on v.row_id = d.row_id and d.generator in (select unnest($generators::integer[]))
anti join state.admitted_row_group as g on v.row_group = g.row_group and g.state = 'active';

-- name: delete_returned_values
-- Their values are where rows live again. O(dropped rows).
delete from state.dropped_row_value
where
  row_id in (
    select d.row_id from state.dropped_row as d where d.generator in (select unnest($generators::integer[]))
  );

-- name: delete_returned_drops
-- They are dropped no more. O(dropped rows).
delete from state.dropped_row
where generator in (select unnest($generators::integer[]));

-- name: delete_deferred_barriers
-- A task over the dataset that waited for another attempt waits for rows first. O(deferred).
delete from state.deferred_task
where row_group = -1 and generator in (select unnest($generators::integer[]));

-- name: dataset_bounds
-- First and last row a barrier's task reads, and how many there are. O(rows).
select
  min(row_id) as first_row,
  max(row_id) as last_row,
  count(*) as row_count
from ({generator_rows});

-- name: dataset_task_rows
-- A slice of the rows a barrier's task reads, in row_id order. O(rows of the slice, by zone maps).
select
  r.row_id,
  {inputs}
from ({generator_rows}) as r
where r.row_id between $first_row and $last_row
order by r.row_id;
