/*
Reading a run for people: status and the finished rows. Nothing here writes. Times come in as whole microseconds since
the epoch (UTC), so that they can travel to a living run.
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
  round(cost_usd, 12) as cost_usd,
  started_at,
  updated_at,
  reason,
  answers_cut_off,
  rows_lost,
  cached_tokens,
  cache_write_tokens
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
  waiting,
  resource,
  column_type
from main.progress;

-- name: read_resources
-- The view resource. O(resources).
select
  resource,
  configured_limit,
  learned_limit,
  in_flight,
  cooling_until,
  reason,
  explanation
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

-- name: followed_run
-- What is known of the run that this one follows, as it was noted last. O(events).
select detail
from state.event
where kind = 'follows'
order by "at" desc
limit 1;

-- name: cut_off_answers
-- Of which columns answers ended at the limit of their length, most first. O(sums + attempts not summed up yet).
select
  g.name as column_name,
  sum(u.cut_off)::bigint as answers
from state.usage_sum as u
inner join state.known_generator as g on u.generator = g.generator
where u.cut_off > 0
group by g.name
order by
  answers desc,
  column_name asc
limit $limit;

-- name: kept_cells
-- Cells that have the value from before the spec changed last, as their inputs came out as before (V8). O(events).
select
  subject as column_name,
  sum(try_cast(detail as bigint))::bigint as cells
from state.event
where
  kind = 'cells kept'
  and "at" >= (select max(c."at") from state.event as c where c.kind in ('spec changed', 'forked'))
group by subject
order by
  cells desc,
  column_name asc;

-- name: deferral_reasons
-- Why tasks are deferred, the most frequent reason first, with one message of each kind. O(deferred).
select
  generator as column_name,
  error_type,
  max(message) as message,
  count(*) as tasks,
  min(not_before) as not_before
from main.deferred_task
group by
  generator,
  error_type
order by
  count(*) desc,
  generator
limit $limit;

-- name: read_workers
-- Groups of workers of the process that works on the run, and how many of them are there. O(workers).
select
  g.worker_group,
  g.kind,
  g.workers,
  count(*) filter (where w.state in ('ready', 'quiet')) as ready,
  coalesce(sum(w.in_flight), 0)::bigint as in_flight,
  coalesce(sum(w.done), 0)::bigint as done,
  count(*) filter (where w.state = 'lost') as lost,
  g.empty_since,
  g.waits_until
from state.worker_group as g
inner join state.invocation as i on g.invocation = i.invocation and i.ended_at is null
inner join state.seen_state as s on s.state in ('running', 'paused')
left join main.worker as w on g.invocation = w.invocation and g.worker_group = w.worker_group
group by all
order by g.worker_group;

-- name: read_rates
-- What the newest invocation finished since a moment (microseconds since the epoch), when it began, and how long the run
-- was worked on in all. O(row groups).
with newest as (
  select max(started_at) as started_at
  from state.invocation
)

select
  (
    select coalesce(sum(f.rows_finished), 0)::bigint
    from state.finished_row_group as f
    where f.finished_at > greatest(make_timestamp($since_us), (from newest))
  ) as recent_rows_finished,
  (
    select coalesce(sum(f.row_count), 0)::bigint
    from state.finished_row_group as f
    where f.finished_at > greatest(make_timestamp($since_us), (from newest))
  ) as recent_rows_settled,
  (select epoch(started_at) from newest) as invocation_started_s,
  (
    select sum(greatest(epoch(coalesce(w.ended_at, make_timestamp($now_us))) - epoch(w.started_at), 0))
    from state.worked as w
  ) as worked_s;

-- name: recent_requests
-- Requests that ended since a moment (microseconds since the epoch), per resource; zone maps skip the others. O(recent attempts).
select
  g.resource,
  count(*) as requests,
  count(*) filter (where a.error_type is null) as succeeded,
  avg(a.duration_ms) as mean_ms
from state.attempt as a
inner join state.generator as g on a.generator = g.generator
where
  a.model is not null
  and a.started_at > make_timestamp($since_us) - interval 10 minutes
  and a.started_at + to_microseconds((a.duration_ms * 1000)::bigint) > make_timestamp($since_us)
group by g.resource
order by g.resource;

-- name: oldest_row_group
-- The lowest row group that entered and is not finished, and how many cells of its live rows are made. O(active rows).
select
  row_group,
  state,
  admitted_at,
  row_count,
  rows_dropped
from main.row_group
where state <> 'finished'
order by row_group
limit 1;

-- name: read_admission
-- The decision of the view admission and its reason in words, which the view of an older file may lack. O(active rows).
select
  admit,
  reason,
  next_row_group,
  coalesce(explanation, 'No row group enters: ' || reason || '.') as explanation
from main.admission;

-- name: read_budget
-- The bounds the newest spec sets to cost, tokens, requests and time, and a shard's part of them; null where it sets none.
-- O(spec versions).
select
  (s.spec ->> '$.run.max_cost_usd')::double * p.part as max_cost_usd,
  ceil((s.spec ->> '$.run.max_tokens')::bigint * p.part)::bigint as max_tokens,
  ceil((s.spec ->> '$.run.max_requests')::bigint * p.part)::bigint as max_requests,
  s.spec ->> '$.run.deadline' as deadline
from state.spec_version as s
cross join (
  select coalesce(max((h.end_row - h.first_row) / greatest(h.records, 1)), 1.0)::double as part
  from state.shard as h
) as p
order by s.version desc
limit 1;

-- name: dataset_columns
-- The columns of the view dataset, in order. O(columns).
select column_name
from duckdb_columns()
where schema_name = 'main' and table_name = 'dataset'
order by column_index;

-- name: seed_columns
-- Name and type of the columns of the seed rows inside the database, if it has any. O(columns).
select
  name,
  "type"
from pragma_table_info('state.seed_row')
where name <> 'row_index'
order by cid;

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

-- name: dataset_row_ids
-- The row_id of every finished row, in order. O(rows).
select row_id
from main.dataset
order by row_id;

-- name: dataset_row_ids_where
-- The row_id of every finished row that meets a user's condition, in order. O(rows).
select row_id
from main.dataset
where {predicate}
order by row_id;

-- name: dataset_rows
-- The finished rows among $row_ids, in order: zone maps skip what is before and behind them. O(slice).
select {columns}
from main.dataset
where row_id >= $first_row and row_id <= $last_row and row_id in (select unnest(cast($row_ids as bigint[])))
order by row_id;

-- name: dataset_types
-- Names and types of the dataset's columns. O(columns).
select
  column_name,
  data_type
from duckdb_columns()
where schema_name = 'main' and table_name = 'dataset'
order by column_index;

-- name: dataset_summary
-- One row: per column the number of distinct values (about), then per column that of values that are not null. O(rows).
select
  approx_count_distinct(columns(*)),
  count(columns(*))
from (select {columns} from main.dataset where {predicate});

-- name: usage_of_models
-- What each model has been asked and has cost, over all invocations. O(attempts).
select
  model,
  sum(requests)::bigint as requests,
  least(sum(input_tokens), 9223372036854775807)::bigint as input_tokens,
  least(sum(output_tokens), 9223372036854775807)::bigint as output_tokens,
  sum(cost_usd) as cost_usd
from main."usage"
group by model
order by model;

-- name: last_remaking
-- When values of finished rows were last made again: chosen cells, or a barrier over more rows. O(events).
select max("at") as remade_at
from state.event
where kind in ('rerun', 'barrier');

-- name: run_identity
-- Which run this is, whatever its file is called: its name, when it was made, its seed, and the number of its spec. O(1).
select
  r.name,
  r.created_at,
  r.seed,
  (select max(s.version) from state.spec_version as s) as spec_version
from state.run as r;

-- name: dataset_schema
-- No rows of the dataset, for its types. O(1).
select {columns}
from main.dataset
limit 0;

-- name: read_task_times
-- The view task_time: nothing unless the run is traced. O(traced tasks).
select
  generator,
  tasks,
  waiting_s,
  working_s,
  longest_s
from main.task_time;
