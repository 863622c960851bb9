/*
Finishing row groups (K1, K2): every live row done by every generator, or no row live. Rows move to the dataset, the
working rows go, the facts are recorded (row_groups.sql), all in the turn's transaction.
*/

-- name: unfinished_rows
-- How many rows of each row group in the working set are unfinished, and how many live; it is complete if none is
-- unfinished. O(active rows).
select
  g.row_group,
  coalesce(u.unfinished, 0) as unfinished,
  coalesce(u.live_rows, 0) as live_rows
from state.admitted_row_group as g
left join (
  select
    row_group,
    count(*) filter (where not ({all_done})) as unfinished,
    count(*) as live_rows
  from state.active_row
  group by row_group
) as u
  on g.row_group = u.row_group
where g.state = 'active';

-- name: move_finished_rows
-- Moves the rows of the row groups in $row_groups into the dataset. O(active rows).
insert into state.dataset_row ({columns})
select {columns}
from state.active_row
where row_group in (select unnest($row_groups::bigint[]))
order by row_id;

-- name: record_finished_skips
-- How many cells of each generator were skipped in those row groups, where any was (S3). O(active rows).
insert into state.finished_skip (row_group, generator, skipped)
select
  a.row_group,
  g.generator,
  count(*)
from state.active_row as a
inner join state.generator as g on {is_skipped_of_a}
where a.row_group in (select unnest($row_groups::bigint[]))
group by
  a.row_group,
  g.generator;

-- name: delete_finished_rows
-- Takes the moved rows out of the working set. O(active rows).
delete from state.active_row
where row_group in (select unnest($row_groups::bigint[]));

-- name: note_unannounced
-- Finished row groups whose callback is still to be called (K3). O(row groups).
insert into state.unannounced_row_group (row_group, rows_finished, rows_dropped)
select
  row_group,
  rows_finished,
  rows_dropped
from state.finished_row_group
where row_group in (select unnest($row_groups::bigint[]));

-- name: unannounced_row_groups
-- What an earlier invocation finished but may not have announced. O(unannounced).
select
  row_group,
  rows_finished,
  rows_dropped
from state.unannounced_row_group
order by row_group;

-- name: forget_announced
-- Their callbacks have returned. O(unannounced).
delete from state.unannounced_row_group
where row_group in (select unnest($row_groups::bigint[]));

-- name: touch_run
-- The run moved on at this time. O(1).
update state.run
set updated_at = $now;

-- name: finish_run
-- Every row group is finished: so is the run. O(1).
update state.run
set state = 'finished', reason = null, updated_at = $now, finished_at = $now
where state <> 'finished';
