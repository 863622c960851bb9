/*
What `rowmill report` draws. Time is cut into buckets of $width_us microseconds from $from_us on (both since the epoch); a
bucket without anything has no row.
*/

-- name: report_span
-- The first and the last moment anything is known of, microseconds since the epoch; null if nothing happened. O(row groups).
select
  epoch_us((select min(i.started_at) from state.invocation as i)) as from_us,
  epoch_us(
    greatest(
      (select r.updated_at from state.run as r),
      (select max(f.finished_at) from state.finished_row_group as f),
      (select max(u.last_started_at) from state.usage_sum as u)
    )
  ) as until_us;

-- name: report_progress
-- Rows finished and dropped per bucket, by when their row groups were finished. O(row groups).
select
  ((epoch_us(finished_at) - $from_us) // $width_us)::bigint as bucket,
  sum(rows_finished)::bigint as finished,
  sum(rows_dropped)::bigint as dropped
from state.finished_row_group
group by bucket
order by bucket;

-- name: report_requests
-- Requests per endpoint and bucket: how many, how many failed, how long they took, tokens and cost. O(attempts).
select
  coalesce(g.resource, 'local') as resource,
  ((epoch_us(a.started_at) - $from_us) // $width_us)::bigint as bucket,
  count(*) filter (where a.error_type is null) as succeeded,
  count(*) filter (where a.error_type is not null) as failed,
  approx_quantile(a.duration_ms, 0.5) as median_ms,
  approx_quantile(a.duration_ms, 0.95) as slow_ms,
  least(sum(a.input_tokens), 9223372036854775807)::bigint as input_tokens,
  least(sum(a.output_tokens), 9223372036854775807)::bigint as output_tokens,
  coalesce(sum(a.cost_usd), 0.0)::double as cost_usd
from state.attempt as a
inner join state.generator as g on a.generator = g.generator
where a.model is not null
group by
  g.resource,
  bucket
order by
  bucket,
  resource;

-- name: report_errors
-- Failed requests and calls by kind and bucket. O(attempts).
select
  a.outcome || ': ' || a.error_type as kind,
  ((epoch_us(a.started_at) - $from_us) // $width_us)::bigint as bucket,
  count(*) as failures
from state.attempt as a
where a.error_type is not null
group by
  kind,
  bucket
order by bucket;

-- name: report_retries
-- Attempts by their number: the first, the second, and so on. O(attempts).
select
  attempt,
  count(*) as attempts
from state.attempt
group by attempt
order by attempt
limit 12;

-- name: report_usage
-- Requests, tokens and cost by model, in all. O(invocations × hours).
select
  model,
  sum(requests)::bigint as requests,
  sum(failed)::bigint as failed,
  least(sum(input_tokens), 9223372036854775807)::bigint as input_tokens,
  least(sum(output_tokens), 9223372036854775807)::bigint as output_tokens,
  sum(cost_usd)::double as cost_usd
from main.usage
group by model
order by requests desc;

-- name: report_task_times
-- Which column is slow: time its tasks waited and worked, if the run is traced. O(traced tasks).
select
  generator,
  tasks,
  waiting_s,
  working_s,
  longest_s
from main.task_time;

-- name: report_drops
-- Why rows were dropped, with up to three examples of each kind. O(dropped rows).
select
  column_name,
  reason,
  error_type,
  count(*) as "rows",
  list(struct_pack(row_id := row_id, message := message) order by row_id)[1:3] as examples
from main.dropped_row
group by
  column_name,
  reason,
  error_type
order by "rows" desc
limit 20;

-- name: report_drop_values
-- What these dropped rows held. O(dropped rows).
select *
from main.dropped_row_value
where list_contains($row_ids::bigint[], row_id);

-- name: report_graph
-- The generators with their counts. O(active rows).
select *
from main.graph;

-- name: report_statistics
-- What each column holds. O(rows).
select *
from main.column_statistics;

-- name: report_field_types
-- Types of some fields of structs, from one row. O(1).
select {columns}
from main.dataset
limit 1;

-- name: report_fields
-- What some fields of structs hold; {measures}: a macro of views/07_statistics.sql for each. O(rows).
select
  unnest([
    {measures}
  ], recursive := true)
from main.dataset;

-- name: report_values
-- The most frequent values of each column. O(rows).
select
  column_name,
  value,
  "rows"
from main.column_value
order by
  column_name asc,
  "rows" desc,
  value asc;

-- name: report_histograms
-- How numbers, times and lengths are distributed. O(rows).
select *
from main.column_histogram
order by
  column_name,
  bin;

-- name: report_scores
-- What llm-judge columns gave. O(rows).
select *
from main.judge_score
order by all;

-- name: report_sample_ids
-- The numbers of some finished rows, spread over all of them: of all rows it reads nothing else. O(rows).
select min(d.row_id) as row_id
from state.dataset_row as d
cross join (select greatest((max(n.row_id) - min(n.row_id)) // $samples, 1) as step from state.dataset_row as n) as s
group by d.row_id // s.step
order by row_id
limit $samples;

-- name: report_samples
-- These rows. A list of constants, not a join, has the engine read the values of no others. O(rows).
select *
from main.dataset
where list_contains($row_ids::bigint[], row_id)
order by row_id;
