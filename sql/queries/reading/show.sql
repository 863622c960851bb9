/*
What `rowmill show` lists, each from its public view in the order that serves reading. They run on a
read-only connection; $limit is the greatest number of rows, null for all. {columns} and {predicate} are what the
user asked for, * and true otherwise.
*/

-- name: variants_as_json
-- A query with its VARIANT columns cast to JSON, which everybody can read. O(what the query reads).
select * replace ({casts})
from (
  {query}
);

-- name: show_rows
-- The first finished rows: numbers of all, values of these. O(rows).
select {columns}
from main.dataset
where {predicate}
limit $limit;

-- name: show_rows_between
-- Finished rows of a range of row_id, in order, for reading all of them slice by slice. O(slice).
select {columns}
from main.dataset
where row_id >= $first and row_id <= $last and {predicate};

-- name: show_groups
-- The row groups that were admitted, in plan order. O(row groups).
select {columns}
from main.row_group
where {predicate}
order by row_group
limit $limit;

-- name: show_ready
-- The tasks of the frontier, lowest row group first. O(active rows).
select {columns}
from main.ready_task
where {predicate}
order by
  row_group,
  row_index,
  generator
limit $limit;

-- name: show_deferred
-- The deferred tasks, the one that becomes ready first on top. O(deferred).
select {columns}
from main.deferred_task
where {predicate}
order by
  not_before,
  row_group,
  row_index,
  generator
limit $limit;

-- name: show_dropped
-- The dropped rows and their reasons, those that were lost to errors first. O(dropped).
select {columns}
from (
  select
    row_id,
    row_group,
    row_index,
    column_name,
    reason,
    reason in ('rejected', 'retries_exhausted', 'given_up') as lost,
    * exclude (row_id, row_group, row_index, column_name, reason)
  from main.dropped_row
)
where {predicate}
order by
  lost desc,
  row_id asc
limit $limit;

-- name: show_dropped_values
-- The same with what they held. O(dropped).
select {columns}
from (
  select
    d.*,
    v.* exclude (row_id)
  from (
    select
      row_id,
      row_group,
      row_index,
      column_name,
      reason,
      reason in ('rejected', 'retries_exhausted', 'given_up') as lost,
      * exclude (row_id, row_group, row_index, column_name, reason)
    from main.dropped_row
  ) as d
  left join main.dropped_row_value as v on d.row_id = v.row_id
) as d
where {predicate}
order by
  lost desc,
  row_id asc
limit $limit;

-- name: dropped_counts
-- How many rows were dropped, and how many of them were lost to errors. O(dropped).
select
  rows_dropped,
  rows_lost
from main.run_status;

-- name: show_attempts
-- The requests and failed calls, the latest first. O(attempts).
select {columns}
from (select * replace (round(cost_usd, 12) as cost_usd) from main.attempt)
where {predicate}
order by number desc
limit $limit;

-- name: show_attempts_between
-- Those of a range of their numbers, for reading all of them slice by slice. O(slice).
select {columns}
from (select * replace (round(cost_usd, 12) as cost_usd) from main.attempt)
where number >= $first and number <= $last and {predicate}
order by number desc;

-- name: attempt_bounds
-- Smallest and largest number of the attempts and how many there are: they are only ever appended. O(1).
select
  0 as first_number,
  count(*) - 1 as last_number,
  count(*) as attempts
from state.attempt;

-- name: show_events
-- What happened, the latest first. O(events).
select {columns}
from main.event
where {predicate}
order by "at" desc
limit $limit;

-- name: show_usage
-- Requests, tokens and cost by model, invocation and hour. O(attempts).
select {columns}
from (select * replace (round(cost_usd, 12) as cost_usd) from main.usage)
where {predicate}
order by
  model,
  invocation,
  hour
limit $limit;

-- name: show_resources
-- The endpoints and worker pools with their limits. O(resources).
select {columns}
from main.resource
where {predicate}
order by resource
limit $limit;

-- name: show_admission
-- Whether the next row group may enter, and why not. O(active rows).
select {columns}
from main.admission
where {predicate}
limit $limit;

-- name: show_workers
-- Workers elsewhere, those that work first, then the latest. O(workers).
select {columns}
from main.worker
where {predicate}
order by
  ended_at desc nulls first,
  joined_at desc,
  name asc
limit $limit;

-- name: show_invocations
-- Who worked on this run, the latest first. O(invocations).
select {columns}
from main.invocation
where {predicate}
order by invocation desc
limit $limit;

-- name: show_spec
-- The specs the dataset was made from, the newest first. O(spec versions).
select {columns}
from main.spec_version
where {predicate}
order by version desc
limit $limit;

-- name: show_graph
-- The generators with their counts, in the order of the graph. O(active rows + row groups).
select {columns}
from main.graph
where {predicate}
limit $limit;

-- name: show_columns
-- What each column of the dataset holds. O(rows).
select {columns}
from main.column_statistics
where {predicate}
limit $limit;

-- name: public_columns
-- The public views and their columns, in order. O(columns).
select
  c.table_name as view,
  c.column_name
from duckdb_columns() as c
inner join duckdb_views() as v
  on c.table_name = v.view_name and c.schema_name = v.schema_name and c.database_name = v.database_name
where c.schema_name = 'main' and not v.internal and not v.temporary
order by
  c.table_name,
  c.column_index;

-- name: view_columns
-- The columns of a public view, in order. O(columns).
select column_name
from duckdb_columns()
where schema_name = 'main' and table_name = $view
order by column_index;
