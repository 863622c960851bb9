/*
Figures for a monitoring system: what the views hold, summed up by labels of few values. Nothing here writes, and nothing names a row.
*/

-- name: requests_by_outcome
-- Requests per endpoint, model and outcome; of generators that are no longer part of the spec the endpoint is empty. O(attempts).
select
  coalesce(g.resource, '') as endpoint,
  a.model,
  a.outcome,
  count(*) as requests
from state.attempt as a
left join state.generator as g on a.generator = g.generator
where a.model is not null
group by all
order by all;

-- name: commit_lags
-- How many results waited at most so many milliseconds for their commit (null: longer), and how long all together. O(invocations).
select
  upper_ms,
  sum(results)::bigint as results,
  sum(lag_s)::double as lag_s
from state.commit_lag
group by all
order by upper_ms nulls last;

-- name: requests_by_endpoint
-- Tokens and cost of the requests per endpoint and model, and how many answers were cut off. O(sums + attempts not summed up yet).
select
  coalesce(g.resource, '') as endpoint,
  u.model,
  least(sum(u.input_tokens), 9223372036854775807)::bigint as input_tokens,
  least(sum(u.output_tokens), 9223372036854775807)::bigint as output_tokens,
  round((sum(u.cost_usd) filter (where u.priced > 0))::double, 12) as cost_usd,
  sum(u.cut_off)::bigint as cut_off,
  least(sum(u.cached_tokens), 9223372036854775807)::bigint as cached_tokens
from state.usage_sum as u
left join state.generator as g on u.generator = g.generator
where u.model is not null
group by all
order by all;

-- name: durations_by_endpoint
-- How many requests of each endpoint and model took at most each of $bounds_ms (which rise) and more than the one before,
-- how many there are, and how long they took together. O(attempts).
with counted as (
  select
    coalesce(g.resource, '') as endpoint,
    a.model,
    count(*) as requests,
    sum(a.duration_ms)::double / 1000 as duration_s,
    histogram(a.duration_ms, $bounds_ms::double[]) as bins
  from state.attempt as a
  left join state.generator as g on a.generator = g.generator
  where a.model is not null
  group by all
)

select
  endpoint,
  model,
  list_transform($bounds_ms::double[], lambda bound: coalesce(bins[bound], 0)::bigint) as within_bounds,
  requests,
  duration_s
from counted
order by all;

-- name: deferred_by_reason
-- Deferred tasks per generator and kind of error. O(deferred).
select
  generator,
  error_type,
  count(*) as tasks
from main.deferred_task
group by all
order by all;

-- name: dropped_by_reason
-- Dropped rows per column, reason and kind of error. O(dropped rows).
select
  column_name,
  reason,
  coalesce(error_type, '') as error_type,
  count(*) as "rows"
from main.dropped_row
group by all
order by all;

-- name: number_of_attempts
-- The number the next attempt gets. O(1).
select coalesce(max(a.rowid) + 1, 0)::bigint as attempts
from state.attempt as a;

-- name: attempts_from
-- Attempts from the number $first on, $limit of them, in order: found by row number, so the others are not read. O($limit).
select
  a.rowid::bigint as "number",
  k.name as generator,
  coalesce(g.column_type, '') as column_type,
  coalesce(g.resource, '') as endpoint,
  a.row_group,
  a.row_index,
  a.row_id,
  a.attempt,
  a.outcome,
  a.error_type,
  a.model,
  a.started_at,
  a.duration_ms,
  a.input_tokens,
  a.output_tokens,
  a.cost_usd,
  a.finish_reason
from state.attempt as a
inner join state.known_generator as k on a.generator = k.generator
left join state.generator as g on a.generator = g.generator
where a.rowid >= $first and a.rowid < $first + $limit
order by a.rowid;
