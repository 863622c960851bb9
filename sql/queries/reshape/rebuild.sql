/*
A run database under another spec: everything is copied from the attached database `source` into a new one whose tables were just
created from that spec. Values of unchanged columns stay; rows that lack a value are parked until admission brings
them back. Run once per change, in one transaction of the new file, never per turn.
*/

-- name: rebuild_run
-- The one row of state.run: the new spec's name and seed, the old run's times and cursor. O(1).
insert into state.run (
  name, seed, spec_directory, state, reason, next_row_group, created_at, updated_at, started_at, finished_at
)
select
  $name,
  $seed,
  $spec_directory,
  case
    when r.started_at is null then 'new'
    when r.state = 'finished' and not $lacks_values then 'finished'
    else 'stopped'
  end,
  case when r.started_at is not null and $lacks_values then 'the spec changed' else r.reason end,
  r.next_row_group,
  r.created_at,
  $now,
  r.started_at,
  case when $lacks_values then null else r.finished_at end
from source.state.run as r;

-- name: source_name
-- The name of the run that is copied. O(1).
select name
from source.state.run;

-- name: rebuild_table
-- A table that does not depend on the spec, as it is. O(its rows).
insert into state.{table} by name
select * from source.state.{table};

-- name: newest_spec_version
-- Which spec the values of the source were made under. O(spec versions).
select max(version) as version
from source.state.spec_version;

-- name: source_generators
-- The graph the source was made for, with the retired generators before it. O(columns).
select
  generator,
  name,
  strategy,
  fingerprint
from source.state.generator
order by generator;

-- name: source_retired_generators
-- Generators that were retired earlier. O(retired generators).
select
  generator,
  name
from source.state.retired_generator
order by generator desc;

-- name: source_seed_columns
-- Name and type of the columns of the seed rows inside the source. O(columns).
select
  c.column_name,
  c.data_type
from duckdb_columns() as c
where
  c.database_name = 'source'
  and c.schema_name = 'state'
  and c.table_name = 'seed_row'
  and c.column_name <> 'row_index'
order by c.column_index;

-- name: source_columns
-- Which generator of the source made which column. O(columns).
select
  column_name,
  generator
from source.state.column_def
order by position;

-- name: rebuild_retired_generators
-- Generators without a place in the new spec, from the staged table new_retired. O(columns).
insert into state.retired_generator (generator, name)
select
  generator,
  name
from new_retired;

-- name: rebuild_attempts
-- What was paid for, under the new numbers of its generators. O(attempts).
insert into state.attempt by name
select a.* replace (m.renamed as generator)
from source.state.attempt as a
inner join generator_map as m on a.generator = m.generator;

-- name: rebuild_task_traces
-- When tasks waited and worked, under the new numbers of their generators. O(traced tasks).
insert into state.task_trace by name
select t.* replace (m.renamed as generator)
from source.state.task_trace as t
inner join generator_map as m on t.generator = m.generator;

-- name: rebuild_dropped_rows
-- Dropped rows keep their reason. O(dropped rows).
insert into state.dropped_row by name
select d.* replace (m.renamed as generator)
from source.state.dropped_row as d
inner join generator_map as m on d.generator = m.generator;

-- name: rebuild_generator_state
-- What unchanged ordered generators are to get back on their next call (R10). O(ordered generators).
insert into state.generator_state by name
select s.* replace (m.renamed as generator)
from source.state.generator_state as s
inner join generator_map as m on s.generator = m.generator
where m.is_kept;

-- name: rebuild_regenerations
-- How often unchanged validation columns had rows made again. O(regenerations).
insert into state.regeneration by name
select r.* replace (m.renamed as generator)
from source.state.regeneration as r
inner join generator_map as m on r.generator = m.generator
where m.is_kept;

-- name: rebuild_rows
-- The rows of one wide table under the new layout. O(rows).
insert into state.{target} ({columns})
select {values}
from source.state.{table} as a
order by a.row_id;

-- name: rebuild_due_row_groups
-- Row groups with parked rows: they come back, lowest first. O(rows + row groups).
insert into state.admitted_row_group (
  row_group, first_row, row_count, admitted_at, state, came_from, rows_parked, rows_finished
)
select
  g.row_group,
  g.first_row,
  g.row_count,
  g.admitted_at,
  'due',
  g.came_from,
  p.rows_parked,
  coalesce(d.finished, 0)
from (
  select
    row_group,
    first_row,
    row_count,
    admitted_at,
    if(state = 'due', 'waiting', state) as came_from
  from source.state.admitted_row_group
  union all
  select
    row_group,
    first_row,
    row_count,
    admitted_at,
    'finished' as came_from
  from source.state.finished_row_group
) as g
inner join (
  select
    row_group,
    count(*) as rows_parked
  from state.parked_row
  group by row_group
) as p on g.row_group = p.row_group
left join (
  select
    row_group,
    count(*) as finished
  from state.dataset_row
  group by row_group
) as d on g.row_group = d.row_group
order by g.row_group;

-- name: rebuild_active_row_groups
-- Row groups without a live row are active: the next turn finishes them. O(admitted row groups).
insert into state.admitted_row_group (row_group, first_row, row_count, admitted_at, rows_finished)
select
  g.row_group,
  g.first_row,
  g.row_count,
  g.admitted_at,
  g.rows_finished
from source.state.admitted_row_group as g
anti join state.admitted_row_group as r on g.row_group = r.row_group;

-- name: rebuild_finished_row_groups
-- Row groups that stay finished. O(row groups).
insert into state.finished_row_group by name
select f.*
from source.state.finished_row_group as f
anti join state.admitted_row_group as r on f.row_group = r.row_group
order by f.row_group;

-- name: rebuild_barriers
-- When the barriers that are still there ran last; those that changed, or have not seen every row, are opened after it. O(barriers).
insert into state.barrier by name
select b.* replace (m.renamed as generator)
from source.state.barrier as b
inner join generator_map as m on b.generator = m.generator
inner join state.generator as g on m.renamed = g.generator
where g.strategy = 'dataset';

-- name: rebuild_finished_skips
-- How many cells were skipped in the rows of the dataset (S3). O(dataset rows).
insert into state.finished_skip (row_group, generator, skipped)
select
  a.row_group,
  g.generator,
  count(*)
from state.dataset_row as a
inner join state.generator as g on {is_skipped_of_a}
group by
  a.row_group,
  g.generator;

-- name: retain_column
-- Values of a column that model calls made and the new spec would lose. O(rows).
create table retained.{table} as
select
  a.row_id,
  a.{column}
from (
  select * from source.state.dataset_row
  union all
  select * from source.state.active_row
  union all
  select * from source.state.parked_row
) as a
where {is_made}
order by a.row_id;

-- name: source_retained_tables
-- Values retained at earlier changes. O(retained tables).
select table_name
from duckdb_tables()
where database_name = 'source' and schema_name = 'retained'
order by table_name;

-- name: keep_retained_table
-- Values retained earlier stay. O(its rows).
create table retained.{table} as
select *
from source.retained.{table};

-- name: retained_tables
-- The tables of retained values in this database. O(retained tables).
select table_name
from duckdb_tables()
where database_name = current_database() and schema_name = 'retained'
order by table_name;

-- name: purge_retained_table
-- Gives retained values up for good. O(1).
drop table retained.{table};
