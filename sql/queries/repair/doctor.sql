/*
What `rowmill doctor` asks of a run database that opens. Nothing here writes, and none of it is asked while a run works.
*/

-- name: whole_tables
-- All tables of the run, to be read from their first block to their last. O(tables).
select
  schema_name,
  table_name
from duckdb_tables()
where not internal and not temporary and database_name = current_database()
order by all;

-- name: read_whole_table
-- Reads every value of a table: the engine checks the checksum of each block it reads. O(values).
select bit_xor(hash(columns(*)))
from {table};

-- name: row_groups_beside_the_plan
-- Row groups whose place or size is not what the plan says (P4). The arithmetic is written out here: older databases lack
-- the macros, and a check that used them would not check them. O(row groups).
select
  g.row_group,
  g.first_row,
  g.row_count,
  p.first_row + (g.row_group - p.first_row_group) * p.row_group_size as planned_first_row,
  least(p.row_group_size, p."rows" - (g.row_group - p.first_row_group) * p.row_group_size) as planned_row_count
from main.row_group as g
left join state.plan_segment as p
  on g.row_group >= p.first_row_group and g.row_group < p.first_row_group + p.row_groups
where
  p.segment is null
  or g.first_row <> planned_first_row
  or g.row_count <> planned_row_count
order by g.row_group
limit 10;

-- name: usage_beside_attempts
-- What the view usage adds up to, and what the attempts do (D4). O(attempts).
select
  u.requests as usage_requests,
  a.requests as attempt_requests,
  u.input_tokens as usage_input_tokens,
  a.input_tokens as attempt_input_tokens,
  u.output_tokens as usage_output_tokens,
  a.output_tokens as attempt_output_tokens,
  u.cost_usd as usage_cost_usd,
  a.cost_usd as attempt_cost_usd
from (
  select
    coalesce(sum(requests), 0)::bigint as requests,
    least(coalesce(sum(input_tokens), 0), 9223372036854775807)::bigint as input_tokens,
    least(coalesce(sum(output_tokens), 0), 9223372036854775807)::bigint as output_tokens,
    coalesce(sum(cost_usd), 0.0)::double as cost_usd
  from main.usage
) as u
cross join (
  select
    count(*) filter (where model is not null) as requests,
    least(coalesce(sum(input_tokens) filter (where model is not null), 0), 9223372036854775807)::bigint as input_tokens,
    least(coalesce(sum(output_tokens) filter (where model is not null), 0), 9223372036854775807)::bigint as output_tokens,
    coalesce(sum(cost_usd) filter (where model is not null), 0.0)::double as cost_usd
  from main.attempt
) as a
where
  u.requests <> a.requests
  or u.input_tokens <> a.input_tokens
  or u.output_tokens <> a.output_tokens
  or abs(u.cost_usd - a.cost_usd) > 1e-9 * greatest(1.0, abs(a.cost_usd));

-- name: recorded_calls
-- Calls on record per row group, to compare two states of one database. O(attempts).
select
  row_group,
  count(*) as calls
from state.attempt
group by row_group
order by row_group;

-- name: unfinished_row_groups
-- How many results of calls the admitted row groups still wait for. O(active rows × columns).
select
  c.row_group,
  count(*) as missing
from main.cell as c
inner join state.column_def as d on c.column_name = d.column_name
inner join state.generator as g on d.generator = g.generator
where c.state in ('waiting', 'ready', 'deferred') and g.strategy <> 'sql' and not d.is_side_effect
group by c.row_group
order by c.row_group;

-- name: all_contradictions
-- The broken invariants, for people who have to decide what to do. O(rows).
select
  "rule",
  subject,
  detail
from main.invariant_violation
limit 20;

-- name: row_id_bounds
-- The range of a table's rows, from statistics where the engine has them. O(row groups).
select
  min(row_id) as first_row,
  max(row_id) as last_row
from main.dataset;

-- name: planned_rows
-- How many rows the plan has: where to look when the dataset does not tell. O(segments).
select coalesce(max(first_row + "rows"), 0) as "rows"
from state.plan_segment;

-- name: salvage_dataset
-- Finished rows of a range, as they are; one that lies in a damaged block fails. O(rows of the range).
select *
from main.dataset
where row_id between $first_row and $last_row;

-- name: salvage_view
-- A whole view that is not the dataset. O(its rows).
select *
from {view};

-- name: accepted_specs
-- Every spec the run was ever made from. O(spec versions).
select spec
from state.spec_version;

-- name: has_earlier_values
-- Whether rows may get values of a column back: run databases of older versions have no table for them. O(columns).
select count(*) > 0 as has_any
from duckdb_columns()
where schema_name = 'state' and table_name = 'earlier_row' and column_name = $column;

-- name: file_names_in_table
-- The names of files that a table holds in a column. O(its rows).
select {column} as file_name
from {table}
where {column} is not null;
