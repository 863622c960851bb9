/*
Earlier rows: what a change takes from rows, in the transaction that takes it. What becomes of them is in turn/spare.sql.
*/

-- name: makers_in_source
-- Which generator of the source makes which column, of which type, and how it is called. O(columns).
select
  c.column_name,
  g.name,
  c.sql_type,
  g.strategy
from source.state.column_def as c
inner join source.state.generator as g on c.generator = g.generator;

-- name: keep_earlier_rows
-- Keeps what rows of the source hold of cells that may be spared. O(rows).
insert into state.earlier_row (spec_version, {columns})
select
  {version},
  {values}
from source.state.{table} as a
where {has_any}
order by a.row_id;

-- name: forget_earlier_of_remade
-- Cells a person wants made again are made again, whatever they were earlier. O(earlier rows).
update state.earlier_row as e
set {forgotten}
from remade_row as n
where e.row_group = n.row_group and e.row_index = n.row_index;

-- name: forget_earlier_of_invalid
-- What made an invalid row is made again when it is tried again: nothing of it comes from earlier. O(earlier rows).
delete from state.earlier_row as e
using new_revival as n, state.dropped_row as d
where
  e.row_group = n.row_group
  and e.row_index = n.row_index
  and d.row_group = n.row_group
  and d.row_index = n.row_index
  and d.reason = 'invalid';
