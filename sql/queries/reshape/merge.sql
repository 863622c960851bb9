/*
Shards made one run database. Each is attached, read-only, under a name of its own ({source}); all is copied into a new one whose
tables were just made from the spec they share. Row groups, rows and generators have the same numbers in all of them, so a table is
copied as it is; only invocations are numbered anew, shard after shard. Run once per merge, in one transaction of the new file.
*/

-- name: opened_database
-- Under which name the engine knows the database that is open. O(1).
select current_database() as name;

-- name: facts_of_shard
-- How far a shard is, and what tells that nobody wrote to it since. O(row groups).
select
  r.name,
  r.state,
  r.seed,
  r.next_row_group,
  r.created_at,
  r.updated_at,
  r.started_at,
  r.finished_at,
  (select count(*) from {source}.state.invocation) as invocations,
  (select count(*) from {source}.state.finished_row_group) as finished,
  (select count(*) from {source}.state.admitted_row_group as g where g.state = 'waiting') as waiting,
  (select count(*) from {source}.state.barrier) as barriers,
  (select count(*) from {source}.state.older_rule) as older_rules
from {source}.state.run as r;

-- name: graph_of_shard
-- The generators a shard was made by. O(columns).
select
  g.name,
  g.generator,
  g.fingerprint,
  g.strategy
from {source}.state.generator as g
order by g.generator;

-- name: columns_of_shard
-- The columns a shard was made with. O(columns).
select
  c.column_name,
  c.generator,
  c.sql_type,
  c.in_dataset
from {source}.state.column_def as c
order by c.position;

-- name: seed_of_shard
-- Number and digest of the seed rows inside a shard; no row if it has none. O(1).
select
  s."rows",
  s.digest
from {source}.state.seed_content as s;

-- name: specs_of_shard
-- Every spec a shard was made from, oldest first. O(spec versions).
select
  s.spec,
  s.accepted_at
from {source}.state.spec_version as s
order by s.version;

-- name: merge_run
-- The one row of state.run: what the shards have in common, and how far they are together. O(1).
insert into state.run (
  name, seed, spec_directory, state, reason, next_row_group, created_at, updated_at, started_at, finished_at
)
values (
  $name, $seed, $spec_directory, $state, $reason, $next_row_group, $created_at, $updated_at, $started_at, $finished_at
);

-- name: merge_table
-- A table as it is in a shard, behind what is there already. O(its rows).
insert into state.{table} by name
select * from {source}.state.{table};

-- name: merge_invocations
-- The processes that worked on a shard, and how long their results waited, numbered behind those of the shards before it. O(invocations).
insert into state.{table} by name
select t.* replace (t.invocation + $before as invocation)
from {source}.state.{table} as t;

-- name: merge_calls
-- What was called and what it cost, under the merged numbers of its invocation and its generator. O(its rows).
insert into state.{table} by name
select t.* replace (t.invocation + $before as invocation, m.renamed as generator)
from {source}.state.{table} as t
inner join generator_map as m on t.generator = m.generator;

-- name: merge_dropped_rows
-- Dropped rows keep their reason. O(dropped rows).
insert into state.dropped_row by name
select d.* replace (m.renamed as generator)
from {source}.state.dropped_row as d
inner join generator_map as m on d.generator = m.generator;

-- name: retired_of_shard
-- Generators a shard's spec had once. O(retired generators).
select
  r.generator,
  r.name
from {source}.state.retired_generator as r
order by r.generator desc;

-- name: merge_answers
-- Answers that may be used again; one that several shards have is kept once. O(answers).
insert into state.answer by name
select a.*
from {source}.state.answer as a
anti join state.answer as o on a.answer_key = o.answer_key;

-- name: merge_resources
-- What the shards learned of a resource together: each had a part of what it takes, and the longest rest counts. O(resources).
merge into state.resource as r
using (select * from {source}.state.resource) as n on r.resource = n.resource
when matched then
  update
    set
      learned_limit = least(r.configured_limit, r.learned_limit + n.learned_limit),
      cooling_until = greatest(r.cooling_until, n.cooling_until),
      reason = coalesce(n.reason, r.reason)
when not matched then
  insert (resource, configured_limit, learned_limit, cooling_until, reason)
  values (n.resource, n.configured_limit, n.learned_limit, n.cooling_until, n.reason);

-- name: merge_refusals
-- Since when an endpoint refuses everything: the patience with it ends by the shard that got an answer last. O(endpoints).
merge into state.refusal as r
using (select * from {source}.state.refusal) as n on r.resource = n.resource
when matched then update set since = greatest(r.since, n.since)
when not matched then insert (resource, since) values (n.resource, n.since);

-- name: merge_pause
-- A pause by hand of any of the shards. O(1).
insert into state.pause by name
select p.*
from {source}.state.pause as p
where not exists (from state.pause);

-- name: merge_limits_by_hand
-- Limits people set; of several shards the one set last. O(limits).
merge into state.limit_by_hand as l
using (select * from {source}.state.limit_by_hand) as n on l.resource is not distinct from n.resource
when matched and n.set_at > l.set_at then update set calls = n.calls, set_at = n.set_at, set_by = n.set_by
when not matched then
  insert (resource, calls, set_at, set_by)
  values (n.resource, n.calls, n.set_at, n.set_by);

-- name: retained_tables_of_shard
-- Values retained when the spec of a shard changed. O(retained tables).
select t.table_name
from duckdb_tables() as t
where t.database_name = $source and t.schema_name = 'retained'
order by t.table_name;

-- name: keep_retained_of_shard
-- They are kept. O(its rows).
create table retained.{table} as
select *
from {source}.retained.{table};

-- name: add_retained_of_shard
-- They are kept beside those of another shard. O(its rows).
insert into retained.{table} by name
select *
from {source}.retained.{table};

-- name: merge_missing_row_groups
-- Row groups before the cursor that no shard has made, or begun: they come back as those do of which everything is to be made
-- (waiting → due).
-- O(row groups).
insert into state.admitted_row_group (row_group, first_row, row_count, admitted_at, state, came_from, rows_parked)
select
  c.row_group,
  state.planned_first_row(c.row_group, p),
  state.planned_row_count(c.row_group, p),
  $now,
  'due',
  'waiting',
  state.planned_row_count(c.row_group, p)
from (
  select unnest(range(r.next_row_group)) as row_group
  from state.run as r
) as c
inner join state.plan_segment as p
  on c.row_group >= p.first_row_group and c.row_group < p.first_row_group + p.row_groups
anti join state.finished_row_group as f on c.row_group = f.row_group
anti join state.admitted_row_group as g on c.row_group = g.row_group
order by c.row_group
returning row_group, row_count;

-- name: merge_missing_rows
-- The rows of these, with nothing made. O(missing rows).
insert into state.parked_row by name
select
  n.row_group,
  n.row_index,
  n.first_row + n.row_index as row_id,
  {empty_sets}
from (
  select
    g.row_group,
    g.first_row,
    unnest(range(g.row_count)) as row_index
  from state.admitted_row_group as g
  where g.state = 'due' and g.row_group in (select unnest($row_groups::bigint[]))
) as n
order by row_id;
