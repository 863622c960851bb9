/*
What the older attempts add up to. Attempts are only ever appended, so their row numbers never change: those up to the sum of
`attempts` here are summed up in this table, the later ones are summed when somebody asks. So status and usage cost the
same after a thousand requests and after a hundred million. Written by the turn, once in many attempts.
*/

create table state.usage_total (
  invocation integer not null,
  generator integer not null,
  model varchar,
  hour timestamp not null,
  attempts bigint not null check (attempts > 0),
  succeeded bigint not null,
  failed bigint not null,
  duration_ms double not null,
  input_tokens bigint not null,
  output_tokens bigint not null,
  cost_usd double not null,
  last_started_at timestamp not null,
  check (succeeded + failed = attempts)
);

insert into state.usage_total
select
  invocation,
  generator,
  model,
  date_trunc('hour', started_at) as hour,
  count(*) as attempts,
  count(*) filter (where error_type is null) as succeeded,
  count(*) filter (where error_type is not null) as failed,
  sum(duration_ms)::double as duration_ms,
  sum(input_tokens)::bigint as input_tokens,
  sum(output_tokens)::bigint as output_tokens,
  coalesce(sum(cost_usd), 0.0)::double as cost_usd,
  max(started_at) as last_started_at
from state.attempt
group by
  invocation,
  generator,
  model,
  date_trunc('hour', started_at);
