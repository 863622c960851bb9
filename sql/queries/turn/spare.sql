/*
Cells that need not be made again: everything they follow from came out as it was before the change that took their values. Run only while
there are earlier rows, for one generator after the other, in the transaction that made the last of its inputs; so no task
of a cell is handed out before it is decided.
*/

-- name: has_earlier_rows
-- Are there earlier rows? O(1).
select count(*) > 0 as has_any
from state.earlier_row;

-- name: has_earlier_rows_of_living
-- Are there earlier rows of rows that live? O(earlier rows of dropped rows).
select count(*) > 0 as has_any
from (
  select e.row_id
  from state.earlier_row as e
  anti join state.dropped_row as d on e.row_id = d.row_id
  limit 1
) as found;

-- name: spare_cells
-- Gives cells their earlier values, and whether they were skipped, where their inputs are what they were; of several, the
-- newest. O(active rows + earlier rows).
update state.active_row as a
set {assignments}, {set_done}, {set_skipped}
from (
  select e.*
  from state.earlier_row as e
  inner join state.active_row as n on e.row_id = n.row_id
  where {has_value} and {upstream_done} and {not_done} and {same_skips} and {same_inputs}
  qualify row_number() over (partition by e.row_id order by e.spec_version desc) = 1
) as e
where a.row_id = e.row_id;

-- name: decide_cells
-- Cells whose inputs are there are decided: what they were earlier counts no more. O(active rows + earlier rows).
update state.earlier_row as e
set {forgotten}
from state.active_row as n
where e.row_id = n.row_id and {has_value} and {upstream_done};

-- name: forget_decided_rows
-- Earlier rows of which every cell is decided. O(earlier rows).
delete from state.earlier_row
where {is_decided};
