/*
What the page of `rowmill ui` reads beside the status. Rows are paged by row_id within ranges that zone maps find, so a page
of ten million rows costs what one of ten does. {columns} are the columns somebody chose, shortened; {predicate} is a
user's condition or true; {view} and {table} are names of ours.
*/

-- name: columns_of_view
-- Names and types of the columns of a public view, in order. O(columns).
select
  column_name,
  data_type
from duckdb_columns()
where schema_name = 'main' and table_name = $view
order by column_index;

-- name: row_bounds
-- Smallest and largest row_id of the rows in a table, and how many there are. O(1) from statistics, else O(rows).
select
  min(row_id) as first_row,
  max(row_id) as last_row,
  count(*) as "rows"
from {table};

-- name: rows_below
-- Rows of a range of row_id that meet a condition, the greatest first. O(range).
select {columns}
from {view}
where row_id >= $first and row_id <= $last and {predicate}
order by row_id desc
limit $limit;

-- name: rows_above
-- Rows of a range of row_id that meet a condition, the least first. O(range).
select {columns}
from {view}
where row_id >= $first and row_id <= $last and {predicate}
order by row_id asc
limit $limit;

-- name: whole_row
-- A row with every value it has, wherever it is, and which generators made theirs; zone maps skip most. O(active rows).
select
  'finished' as place,
  *
from state.dataset_row
where row_id = $row_id
union all by name
select
  'active' as place,
  *
from state.active_row
where row_id = $row_id
union all by name
select
  'parked' as place,
  *
from state.parked_row
where row_id = $row_id
union all by name
select
  'dropped' as place,
  *
from state.dropped_row_value
where row_id = $row_id
order by place desc
limit 1;

-- name: next_row
-- The nearest greater row_id of a table. O(range).
select min(row_id) as row_id
from {table}
where row_id > $row_id and row_id <= $row_id + $range;

-- name: row_before
-- The nearest smaller row_id of a table. O(range).
select max(row_id) as row_id
from {table}
where row_id < $row_id and row_id >= $row_id - $range;

-- name: drop_of_row
-- Why a row was dropped; no row if it was not. O(dropped rows).
select
  column_name,
  reason,
  error_type,
  message,
  attempts,
  dropped_at
from main.dropped_row
where row_id = $row_id;

-- name: deferrals_of_row
-- The tasks of a row that wait for another attempt. O(deferred).
select
  generator,
  attempts,
  error_type,
  message,
  not_before,
  explanation
from main.deferred_task
where row_id = $row_id or (row_id is null and row_group = $row_group);

-- name: attempts_of_row
-- The requests and failed calls of a row and of the batch tasks it was part of, in order. O(attempts).
select
  generator,
  attempt,
  outcome,
  error_type,
  message,
  model,
  started_at,
  duration_ms,
  input_tokens,
  output_tokens,
  cached_tokens,
  cost_usd,
  finish_reason
from main.attempt
where row_id = $row_id or (row_id is null and row_group = $row_group)
order by number
limit 500;

-- name: trace_of_row
-- How long each task of a row waited and worked, if the run is traced. O(traced tasks).
select
  generator,
  outcome,
  handed_out_at,
  waiting_ms,
  working_ms
from main.task_trace
where row_id = $row_id
order by handed_out_at
limit 500;

-- name: times_of_row_group
-- When a row group entered and was finished. O(row groups).
select
  admitted_at,
  finished_at
from main.row_group
where row_group = $row_group;

-- name: previous_value
-- The value a row had in a column before the spec changed. O(rows).
select {column} as value
from retained.{table}
where row_id = $row_id;

-- name: digested_rows
-- A digest of each value of finished rows of a range: values differ if their digests do. O(range).
select
  row_id,
  {columns}
from main.dataset
where row_id >= $first and row_id <= $last
order by row_id;

-- name: first_rows_of
-- The first rows of a user's query, its columns under other names and shortened. O(the query).
select {columns}
from (
  {query}
) as asked ({names}) -- noqa: AL05
limit $limit;

-- name: types_of
-- The columns of a user's query, without its rows. O(1).
select *
from (
  {query}
)
limit 0;

-- name: columns_of_run
-- Every column of the run with the generator that makes it, in order. O(columns).
select
  c.column_name,
  c.generator,
  g.name as generator_name,
  g.column_type,
  c.sql_type,
  c.in_dataset
from state.column_def as c
inner join state.generator as g on c.generator = g.generator
order by c.position;

-- name: needs_of_generators
-- Which generators each generator needs, by number. O(generators).
select
  generator,
  upstream
from state.dependency;

-- name: whole_value
-- A value of a row, wherever the row is; zone maps skip most rows. O(active rows).
select {column} as value
from state.dataset_row
where row_id = $row_id
union all
select {column} as value
from state.active_row
where row_id = $row_id
union all
select {column} as value
from state.parked_row
where row_id = $row_id
union all
select {column} as value
from state.dropped_row_value
where row_id = $row_id
limit 1;
