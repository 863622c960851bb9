/*
Reading a run for people: status and the finished rows. Nothing here writes.
*/

-- name: read_run_status
-- The one row of the view run_status. O(row groups + attempts).
select
  name,
  state,
  records,
  rows_finished,
  rows_dropped,
  row_groups,
  row_groups_active,
  row_groups_finished,
  invocations,
  requests,
  input_tokens,
  output_tokens,
  cost_usd,
  started_at,
  updated_at,
  reason
from main.run_status;

-- name: read_progress
-- The view progress. O(active rows + row groups).
select
  column_name,
  generator,
  strategy,
  cells,
  done,
  skipped,
  dropped,
  deferred,
  waiting
from main.progress;

-- name: read_resources
-- The view resource. O(resources).
select
  resource,
  configured_limit,
  learned_limit,
  in_flight,
  cooling_until,
  reason
from main.resource
order by resource;

-- name: drop_reasons
-- Why rows were dropped, the most frequent reason first, with one message of each kind. O(dropped rows).
select
  column_name,
  reason,
  error_type,
  max(message) as message,
  count(*) as "rows"
from main.dropped_row
group by
  column_name,
  reason,
  error_type
order by
  count(*) desc,
  column_name
limit $limit;

-- name: dataset_columns
-- The columns of the view dataset, in order. O(columns).
select column_name
from duckdb_columns()
where schema_name = 'main' and table_name = 'dataset'
order by column_index;

-- name: seed_columns
-- Name and type of the columns of the seed rows inside the database. O(columns).
select
  column_name,
  data_type
from duckdb_columns()
where schema_name = 'state' and table_name = 'seed_row' and column_name <> 'row_index'
order by column_index;

-- name: finished_row_bounds
-- Smallest and largest row_id of the finished rows and their number. O(1) from statistics, else O(rows).
select
  min(row_id) as first_row,
  max(row_id) as last_row,
  count(*) as rows_finished
from state.dataset_row;

-- name: dataset_slice
-- Finished rows with row_id from $first_row to $last_row, in order: zone maps skip the rest. O(slice).
select {columns}
from main.dataset
where row_id >= $first_row and row_id <= $last_row
order by row_id;

-- name: dataset_schema
-- No rows of the dataset, for its types. O(1).
select {columns}
from main.dataset
limit 0;
