/*
What another spec would change in a run database, and what that would cost: read before anything is written.
*/

-- name: settled_cells
-- How many cells each generator has made or skipped, and made, in finished and live rows. O(distinct done sets of live rows + row groups).
select
  p.generator,
  max(p.done + p.skipped)::bigint as cells,
  max(p.done)::bigint as made
from main.progress as p
group by p.generator;

-- name: spent_per_generator
-- What the requests of each generator cost when its cells were made last, and how many cells these are: earlier makings do not
-- tell what the next one takes. A call of the generators $together is recorded with one of its rows: theirs count by row group.
-- O(attempts).
with making as (
  select
    g.name as generator,
    a.row_group,
    case when not list_contains($together, g.name) then nullif(a.row_index, -1) end as row_index,
    a.invocation,
    count(*) as requests,
    sum(a.cost_usd) as cost_usd,
    sum(a.input_tokens) as input_tokens,
    sum(a.output_tokens) as output_tokens
  from state.attempt as a
  inner join state.known_generator as g on a.generator = g.generator
  where a.model is not null
  group by all
),

newest as (
  select
    generator,
    row_group,
    row_index,
    max_by(requests, invocation) as requests,
    max_by(cost_usd, invocation) as cost_usd,
    max_by(input_tokens, invocation) as input_tokens,
    max_by(output_tokens, invocation) as output_tokens
  from making
  group by
    generator,
    row_group,
    row_index
)

select
  n.generator,
  sum(n.requests)::bigint as requests,
  sum(n.cost_usd) as cost_usd,
  sum(n.input_tokens)::bigint as input_tokens,
  sum(n.output_tokens)::bigint as output_tokens,
  sum(case when n.row_index is not null then 1 else coalesce(r.row_count, s.records) end)::bigint as cells
from newest as n
cross join main.run_status as s
left join main.row_group as r on n.row_group = r.row_group
group by n.generator;

-- name: generators_that_dropped
-- The generators that gave rows up. O(dropped rows).
select distinct g.name
from state.dropped_row as d
inner join state.known_generator as g on d.generator = g.generator;

-- name: planned_and_dropped_rows
-- How many rows are planned, and how many of them were dropped. O(row groups).
select
  records,
  rows_dropped
from main.run_status;

-- name: stored_types
-- The type of each column the database was made for, and how it was made. O(columns).
select
  c.column_name,
  c.sql_type,
  g.strategy
from state.column_def as c
inner join state.generator as g on c.generator = g.generator;
