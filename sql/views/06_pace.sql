/*
How long a run was worked on, for rates. An invocation that crashed left no time of its end: the last thing known of it counts,
a request it began or a row group it finished. One that lives has no end yet.
*/

create view state.worked as
with last_request as (
  select
    invocation,
    max(last_started_at) as seen_at
  from state.usage_sum
  group by invocation
),

last_finish as (
  select
    i.invocation,
    max(f.finished_at) as seen_at
  from state.finished_row_group as f
  asof inner join state.invocation as i on f.finished_at >= i.started_at
  group by i.invocation
)

select
  i.invocation,
  i.started_at,
  case
    when i.end_reason = 'crashed' then greatest(i.started_at, r.seen_at, f.seen_at)
    when i.ended_at is not null then i.ended_at
    when s.state = 'stopped' then greatest(i.started_at, s.updated_at)
  end as ended_at
from state.invocation as i
cross join state.seen_state as s
left join last_request as r on i.invocation = r.invocation
left join last_finish as f on i.invocation = f.invocation;
