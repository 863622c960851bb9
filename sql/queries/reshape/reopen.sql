/*
Rows and row groups that come back: dropped rows that are revived, and cells that are to be made again. A row of an active
row group joins the others there; of any other one it lies in state.parked_row until admission brings its row group back.
Each row keeps every value it has; only the bits of what is to be made again are cleared. Row groups follow their rows by the
statements of row_groups.sql.
*/

-- name: dropped_rows_where
-- The dropped rows for which a user's condition over the view dropped_row holds. O(dropped rows).
select
  d.row_group,
  d.row_index
from (
  select
    r.*,
    v.* exclude (row_id)
  from main.dropped_row as r
  left join main.dropped_row_value as v on r.row_id = v.row_id
) as d
where {predicate}
order by d.row_id;

-- name: revive_rows
-- Brings dropped rows of active row groups back with the values they had. {values}: dropped_row_value, or dropped_row_again
-- for rows that a person wants tried again. O(dropped rows).
insert into state.active_row
select v.*
from state.{values} as v
semi join new_revival as n on v.row_group = n.row_group and v.row_index = n.row_index
semi join state.admitted_row_group as g on v.row_group = g.row_group and g.state = 'active';

-- name: revive_parked_rows
-- The same for row groups outside the working set: their rows are parked. O(dropped rows).
insert into state.parked_row
select v.*
from state.{values} as v
semi join new_revival as n on v.row_group = n.row_group and v.row_index = n.row_index
anti join state.admitted_row_group as g on v.row_group = g.row_group and g.state = 'active';

-- name: delete_revived_drops
-- Revived rows are dropped no more. O(dropped rows).
delete from state.dropped_row as d
using new_revival as n
where d.row_group = n.row_group and d.row_index = n.row_index;

-- name: delete_revived_values
-- The values of revived rows are with the live rows again. O(dropped rows).
delete from state.dropped_row_value as d
using new_revival as n
where d.row_group = n.row_group and d.row_index = n.row_index;

-- name: forget_regenerations_of_revived
-- What a person wants tried again may be made again as often as at first. O(regenerations).
delete from state.regeneration as r
using new_revival as n
where r.row_group = n.row_group and r.row_index = n.row_index;

-- name: park_active_rows
-- The rows of the working set leave it, so that all comes back lowest row group first. O(active rows).
insert into state.parked_row
select *
from state.active_row
order by row_id;

-- name: delete_all_active_rows
-- The working set is empty. O(active rows).
delete from state.active_row;

-- name: delete_all_deferrals
-- What is set aside starts with a fresh budget of attempts when it comes back. O(deferred).
delete from state.deferred_task;

-- name: made_rows_where
-- Rows that have the cell to be made again and for which a user's condition over the row's columns holds. O(rows).
select
  m.row_group,
  m.row_index
from (
  select * from state.dataset_row
  union all
  select * from state.live_row
) as m
where {is_made} and ({predicate});

-- name: clear_parked_cells
-- The cells to be made again, of rows outside the dataset: their bits are cleared. O(parked rows).
update state.parked_row as p
set {clear}
from remade_row as n
where p.row_group = n.row_group and p.row_index = n.row_index;

-- name: forget_regenerations_of_remade
-- Verdicts that are made again may make their rows again as often as at first. O(regenerations).
delete from state.regeneration as r
using remade_row as n
where
  r.row_group = n.row_group
  and r.row_index = n.row_index
  and r.generator in (select unnest($generators::integer[]));

-- name: take_from_dataset
-- Rows with cells to be made again leave the dataset; their other values stay. O(remade rows).
insert into state.parked_row
select d.* replace ({cleared})
from state.dataset_row as d
semi join remade_row as n on d.row_group = n.row_group and d.row_index = n.row_index
order by d.row_id;

-- name: delete_taken_from_dataset
-- They are not finished any more. O(dataset rows).
delete from state.dataset_row as d
using remade_row as n
where d.row_group = n.row_group and d.row_index = n.row_index;

-- name: forget_skips_of_remade
-- Skips of row groups that lost rows to the working set are counted anew. O(row groups).
delete from state.finished_skip
where row_group in (select n.row_group from remade_row as n);

-- name: count_skips_of_remade
-- How many cells were skipped in the rows those row groups still have in the dataset (S3). O(dataset rows).
insert into state.finished_skip (row_group, generator, skipped)
select
  a.row_group,
  g.generator,
  count(*)
from state.dataset_row as a
inner join state.generator as g on {is_skipped_of_a}
where a.row_group in (select n.row_group from remade_row as n)
group by
  a.row_group,
  g.generator;

-- name: forget_generator_state
-- Ordered generators that make everything again start from no state (R10). O(ordered generators).
delete from state.generator_state
where generator in (select unnest($generators::integer[]));
