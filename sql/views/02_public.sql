/*
The public views (design: public contract). Anyone may read them, while a run works and after.
Columns may be added; those that are here stay. Times are UTC.
*/

/* Generators of the spec, and those only earlier specs had: for the names of attempts and dropped rows. */
create view state.known_generator as
select
  generator,
  name
from state.generator
union all
select
  generator,
  name
from state.retired_generator;

/* Attempts that are not part of state.usage_total yet, summed up alike: found by row number, so the others are not read. */
create view state.usage_tail as
select
  a.invocation,
  a.generator,
  a.model,
  date_trunc('hour', a.started_at) as hour,
  count(*) as attempts,
  count(*) filter (where a.error_type is null) as succeeded,
  count(*) filter (where a.error_type is not null) as failed,
  sum(a.duration_ms)::double as duration_ms,
  least(sum(a.input_tokens), 9223372036854775807)::bigint as input_tokens,
  least(sum(a.output_tokens), 9223372036854775807)::bigint as output_tokens,
  coalesce(sum(a.cost_usd), 0.0)::double as cost_usd,
  max(a.started_at) as last_started_at,
  count(*) filter (where a.finish_reason = 'length') as cut_off,
  least(coalesce(sum(a.cached_tokens), 0), 9223372036854775807)::bigint as cached_tokens,
  least(coalesce(sum(a.cache_write_tokens), 0), 9223372036854775807)::bigint as cache_write_tokens,
  count(a.cost_usd) as priced
from state.attempt as a
where a.rowid >= (select coalesce(sum(t.attempts), 0)::bigint from state.usage_total as t)
group by
  a.invocation,
  a.generator,
  a.model,
  date_trunc('hour', a.started_at);

/* All attempts, summed up in a few rows. */
create view state.usage_sum as
select * from state.usage_total
union all by name
select * from state.usage_tail;

/* The state of the run as it is: who says 'running' and is gone, crashed. */
create view state.seen_state as
select
  case
    when r.state = 'running' and not coalesce(try_cast(getvariable('rowmill_live') as boolean), false) then 'stopped'
    when r.state = 'running' and exists (from state.pause) then 'paused'
    else r.state
  end as state,
  r.updated_at
from state.run as r;

/* The counts of run_status, one row a table and then their sum: as a join of single rows, planning it takes ten times as long. */
create view state.run_count as
select
  coalesce(sum(records), 0)::bigint as records,
  coalesce(sum(rows_finished), 0)::bigint as rows_finished,
  coalesce(sum(rows_dropped), 0)::bigint as rows_dropped,
  coalesce(sum(rows_lost), 0)::bigint as rows_lost,
  coalesce(sum(row_groups), 0)::bigint as row_groups,
  coalesce(sum(row_groups_active), 0)::bigint as row_groups_active,
  coalesce(sum(row_groups_parked), 0)::bigint as row_groups_parked,
  coalesce(sum(row_groups_resting), 0)::bigint as row_groups_resting,
  coalesce(sum(row_groups_finished), 0)::bigint as row_groups_finished,
  coalesce(sum(invocations), 0)::bigint as invocations,
  coalesce(sum(requests), 0)::bigint as requests,
  least(coalesce(sum(input_tokens), 0), 9223372036854775807)::bigint as input_tokens,
  least(coalesce(sum(output_tokens), 0), 9223372036854775807)::bigint as output_tokens,
  sum(cost_usd)::double as cost_usd,
  coalesce(sum(cut_off), 0)::bigint as answers_cut_off,
  least(coalesce(sum(cached_tokens), 0), 9223372036854775807)::bigint as cached_tokens,
  least(coalesce(sum(cache_write_tokens), 0), 9223372036854775807)::bigint as cache_write_tokens
from (
  select -- noqa: AM07
    sum("rows") as records,
    sum(row_groups) as row_groups
  from state.plan_segment
  union all by name
  select
    sum(rows_finished) as rows_finished,
    count(*) as row_groups_finished
  from state.finished_row_group
  union all by name
  select
    sum(rows_finished) as rows_finished,
    count(*) filter (where state = 'active') as row_groups_active,
    count(*) filter (where state = 'parked') as row_groups_parked,
    count(*) filter (where state in ('waiting', 'due')) as row_groups_resting
  from state.admitted_row_group
  union all by name
  select
    count(*) as rows_dropped,
    count(*) filter (where reason in ('rejected', 'retries_exhausted', 'given_up')) as rows_lost
  from state.dropped_row
  union all by name
  select count(*) as invocations
  from state.invocation
  union all by name
  select
    sum(attempts) filter (where model is not null) as requests,
    sum(input_tokens) as input_tokens,
    sum(output_tokens) as output_tokens,
    sum(cost_usd) filter (where priced > 0) as cost_usd,
    sum(cut_off) as cut_off,
    sum(cached_tokens) as cached_tokens,
    sum(cache_write_tokens) as cache_write_tokens
  from state.usage_sum
);

create view main.run_status as
select
  r.name,
  s.state,
  c.records,
  c.rows_finished,
  c.rows_dropped,
  c.row_groups,
  c.row_groups_active,
  c.row_groups_finished,
  c.invocations,
  c.requests,
  c.input_tokens,
  c.output_tokens,
  c.cost_usd,
  r.started_at,
  r.updated_at,
  r.reason,
  c.row_groups_parked,
  c.row_groups_resting,
  c.answers_cut_off,
  c.rows_lost,
  c.cached_tokens,
  c.cache_write_tokens
from state.run as r
cross join state.seen_state as s
cross join state.run_count as c;

create view main.progress as
with live as (
  select
    g.generator,
    coalesce(sum(d.live_rows) filter (where {is_done}), 0)::bigint as settled,
    coalesce(sum(d.live_rows) filter (where {is_skipped_of_d}), 0)::bigint as skipped
  from (
    select
      {set_columns},
      {skipped_columns},
      count(*) as live_rows
    from state.live_row
    group by all
  ) as d
  cross join state.generator as g
  group by g.generator
),

finished_skip as (
  select
    generator,
    sum(skipped)::bigint as skipped
  from state.finished_skip
  group by generator
),

deferred as (
  select
    d.generator,
    count(*) as deferred
  from state.deferred_task as d
  inner join state.generator as g on d.generator = g.generator
  inner join state.live_row as a on d.row_group = a.row_group and d.row_index in (a.row_index, -1)
  where not {is_done_of_a}
  group by d.generator
),

counted as (
  select
    c.column_name,
    g.name as generator,
    g.strategy,
    g.resource,
    g.column_type,
    c.position,
    s.records as cells,
    s.rows_finished + coalesce(a.settled, 0) as settled,
    coalesce(a.skipped, 0) + coalesce(f.skipped, 0) as skipped,
    s.rows_dropped as dropped,
    coalesce(d.deferred, 0) as deferred
  from state.column_def as c
  inner join state.generator as g on c.generator = g.generator
  cross join main.run_status as s
  left join live as a on g.generator = a.generator
  left join finished_skip as f on g.generator = f.generator
  left join deferred as d on g.generator = d.generator
)

select
  column_name,
  generator,
  strategy,
  cells,
  settled - skipped as done,
  skipped,
  dropped,
  deferred,
  cells - settled - dropped - deferred as waiting,
  resource,
  column_type
from counted
order by position;

create view main.row_group as
select
  row_group,
  'active' as state,
  first_row,
  row_count,
  rows_finished,
  row_count - rows_finished - live_rows as rows_dropped,
  admitted_at,
  null::timestamp as finished_at
from state.row_group_done
union all
select
  row_group,
  if(state = 'parked', 'parked', 'resting') as state,
  first_row,
  row_count,
  rows_finished,
  row_count - rows_finished - rows_parked as rows_dropped,
  admitted_at,
  null::timestamp as finished_at
from state.admitted_row_group
where state <> 'active'
union all
select
  row_group,
  'finished' as state,
  first_row,
  row_count,
  rows_finished,
  rows_dropped,
  admitted_at,
  finished_at
from state.finished_row_group;

create view main.ready_task as
select
  g.name as generator,
  g.strategy,
  f.resource,
  nullif(f.row_group, -1) as row_group,
  nullif(f.row_index, -1) as row_index,
  f.row_id
from state.frontier as f
inner join state.generator as g on f.generator = g.generator
where f.not_before is null or f.not_before <= (select r.updated_at from state.run as r);

create view main.cell as
with live as (
  select
    a.row_id,
    a.row_group,
    a.row_index,
    c.column_name,
    c.position,
    case
      when {is_skipped_of_a} then 'skipped'
      when d.is_done then 'done'
      when t.not_before > (select n.updated_at from state.run as n) then 'deferred'
      when r.generator is not null then 'ready'
      else 'waiting'
    end as state
  from state.active_row as a
  inner join state.done_set as d on {same_set}
  inner join state.generator as g on d.generator = g.generator
  inner join state.column_def as c on d.generator = c.generator
  left join state.deferred_task as t
    on d.generator = t.generator and a.row_group = t.row_group and t.row_index in (a.row_index, -1)
  left join state.frontier as r
    on d.generator = r.generator and a.row_group = r.row_group and r.row_index in (a.row_index, -1)
),

dropped as (
  select
    d.row_id,
    d.row_group,
    d.row_index,
    c.column_name,
    c.position,
    'dropped' as state
  from state.dropped_row as d
  inner join state.admitted_row_group as g on d.row_group = g.row_group and g.state = 'active'
  cross join state.column_def as c
)

select
  row_id,
  row_group,
  row_index,
  column_name,
  state
from (
  select * from live
  union all
  select * from dropped
)
order by
  row_id,
  position;

create view main.dropped_row as
select
  d.row_id,
  d.row_group,
  d.row_index,
  g.name as column_name,
  d.reason,
  d.error_type,
  d.message,
  d.attempts,
  d.dropped_at,
  d.source_line
from state.dropped_row as d
inner join state.known_generator as g on d.generator = g.generator;

/* Dropped rows as they come back by hand: of those that were found invalid, what was judged is not made any more. */
create view state.dropped_row_again as
select v.* replace ({taken_back})
from state.dropped_row_value as v
inner join state.dropped_row as d on v.row_group = d.row_group and v.row_index = d.row_index;

/* What dropped rows held; null where a column was not made, or was taken back. */
create view main.dropped_row_value as
select
  {dropped_columns}
from state.dropped_row_value as v
order by v.row_id;

create view main.deferred_task as
select
  g.name as generator,
  nullif(d.row_group, -1) as row_group,
  nullif(d.row_index, -1) as row_index,
  case when d.row_index >= 0 then a.first_row + d.row_index end as row_id,
  d.attempts,
  d.error_type,
  d.message,
  d.not_before,
  g.resource,
  case
    when c.resource is not null
      then
        'Failed (' || d.error_type || ') and waits for ' || g.resource || ', which rests until '
        || strftime(c.cooling_until, '%Y-%m-%d %H:%M:%S') || ' UTC.'
    when d.not_before > (select r.updated_at from state.run as r)
      then 'Failed (' || d.error_type || ') and is tried again at ' || strftime(d.not_before, '%Y-%m-%d %H:%M:%S') || ' UTC.'
    else 'Failed (' || d.error_type || ') and is tried again as soon as ' || g.resource || ' has room.'
  end as explanation
from state.deferred_task as d
inner join state.generator as g on d.generator = g.generator
left join state.admitted_row_group as a on d.row_group = a.row_group
left join state.cooling_resource as c on g.resource = c.resource;

create view main.barrier as
select
  g.name as column_name,
  case
    when g.generator not in (select o.generator from state.open_barrier as o) then 'done'
    when g.generator in (select e.generator from state.ready_barrier as e) then 'ready'
    else 'waiting'
  end as state,
  b.completed_at,
  b.rows_in,
  b.rows_out
from state.generator as g
left join state.barrier as b on g.generator = b.generator
where g.strategy = 'dataset'
order by g.generator;

create view main.attempt as
select
  a.invocation,
  g.name as generator,
  a.row_id,
  a.attempt,
  a.outcome,
  a.error_type,
  a.message,
  a.model,
  a.started_at,
  a.duration_ms,
  a.input_tokens,
  a.output_tokens,
  a.cost_usd,
  a.rowid as number,
  a.finish_reason,
  a.row_group,
  a.cached_tokens,
  a.cache_write_tokens
from state.attempt as a
inner join state.known_generator as g on a.generator = g.generator;

create view main.usage as
select
  model,
  invocation,
  hour,
  sum(attempts)::bigint as requests,
  sum(succeeded)::bigint as succeeded,
  sum(failed)::bigint as failed,
  least(sum(input_tokens), 9223372036854775807)::bigint as input_tokens,
  least(sum(output_tokens), 9223372036854775807)::bigint as output_tokens,
  (sum(cost_usd) filter (where priced > 0))::double as cost_usd,
  least(sum(cached_tokens), 9223372036854775807)::bigint as cached_tokens,
  least(sum(cache_write_tokens), 9223372036854775807)::bigint as cache_write_tokens
from state.usage_sum
where model is not null
group by
  model,
  invocation,
  hour;

create view main.resource as
select
  r.resource,
  r.configured_limit,
  r.learned_limit,
  coalesce(try_cast(getvariable('rowmill_in_flight') as map (varchar, bigint))[r.resource], 0) as in_flight,
  c.cooling_until,
  c.reason,
  case
    when c.resource is not null
      then
        'Rests until ' || strftime(c.cooling_until, '%Y-%m-%d %H:%M:%S') || ' UTC'
        || coalesce(': ' || rtrim(c.reason, '.'), '') || '.'
    when r.learned_limit < r.configured_limit
      then
        format(
          'Takes {:,} calls at once; {:,} are configured, but it answered that this is too much.',
          r.learned_limit,
          r.configured_limit
        )
    else format('Takes up to {:,} calls at once.', r.learned_limit)
  end as explanation
from state.resource as r
left join state.cooling_resource as c on r.resource = c.resource;

create view main.plan as
select
  segment,
  first_row_group,
  row_groups,
  row_group_size,
  first_row,
  "rows"
from state.plan_segment
order by segment;

create view main.event as
select
  "at",
  kind,
  subject,
  detail
from state.event;

create view main.invocation as
select
  invocation,
  pid,
  host,
  version,
  started_at,
  ended_at,
  end_reason
from state.invocation;

/* Workers of an invocation that is over have ended, whether they could say so or not. */
create view main.worker as
select
  w.name,
  w.worker_group,
  w.kind,
  case
    when w.state = 'lost' or s.state in ('running', 'paused') and i.ended_at is null then w.state
    else 'ended'
  end as state,
  w.invocation,
  w.pid,
  w.host,
  nullif(w.node, '') as node,
  w.joined_at,
  w.heard_at,
  coalesce(w.ended_at, i.ended_at) as ended_at,
  case when s.state in ('running', 'paused') and i.ended_at is null then w.in_flight else 0 end as in_flight,
  w.done,
  w.calls_lost,
  nullif(w.reason, '') as reason
from state.worker as w
cross join state.seen_state as s
left join state.invocation as i on w.invocation = i.invocation;

create view main.spec_version as
select
  version,
  accepted_at,
  version = max(version) over () as is_current,
  spec
from state.spec_version;

create view main.graph as
with cells as (
  select
    p.generator,
    list(p.column_name order by c.position) as columns,
    any_value(p.cells) as cells,
    any_value(p.done) as done,
    any_value(p.skipped) as skipped,
    any_value(p.dropped) as dropped,
    any_value(p.deferred) as deferred,
    any_value(p.waiting) as waiting
  from main.progress as p
  inner join state.column_def as c on p.column_name = c.column_name
  group by p.generator
),

needed as (
  select
    d.generator,
    list(u.name order by u.generator) as needs
  from state.dependency as d
  inner join state.generator as u on d.upstream = u.generator
  group by d.generator
),

ready as (
  select
    f.generator,
    count(*) as ready
  from state.frontier as f
  where f.not_before is null or f.not_before <= (select r.updated_at from state.run as r)
  group by f.generator
)

select
  g.name as generator,
  g.column_type,
  g.strategy,
  g.resource,
  coalesce(n.needs, []) as needs,
  p.columns,
  case
    when p.waiting + p.deferred = 0 then 'done'
    when c.resource is not null then 'cooling'
    when r.ready > 0 then 'ready'
    when p.deferred > 0 then 'deferred'
    else 'waiting'
  end as state,
  p.cells,
  p.done,
  p.skipped,
  p.dropped,
  p.deferred,
  p.waiting,
  coalesce(r.ready, 0) as ready_tasks
from state.generator as g
inner join cells as p on g.name = p.generator
left join needed as n on g.generator = n.generator
left join ready as r on g.generator = r.generator
left join state.cooling_resource as c on g.resource = c.resource
order by g.generator;

create view main.dataset as
select
  {dataset_columns}
from state.dataset_row
order by row_id;

create view main.live_row as
select
  l.row_id,
  l.row_group,
  l.row_index,
  {live_columns}
from state.live_row as l
semi join state.admitted_row_group as g on l.row_group = g.row_group and g.state in ('active', 'parked');
