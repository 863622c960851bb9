/*
Creating, opening and closing a run: who works on it, on what spec, under which plan. Run once per
invocation, never per turn.
*/

-- name: insert_schema_versions
-- Records which changes of the layout this database has. O(changes).
insert into state.schema_version (version, rowmill_version, migrated_at)
select
  unnest($versions::integer[]) as version,
  $rowmill_version,
  $now;

-- name: newest_schema_version
-- The layout's version; no row if the tables are there but creation did not finish. O(1).
select max(version) as version
from state.schema_version;

-- name: own_views
-- All views of a run database, public and private, to be made anew by a migration. O(views).
select
  schema_name,
  view_name
from duckdb_views()
where not internal and not temporary and database_name = current_database()
order by all;

-- name: drop_view
-- Takes one view away before tables change. O(1).
drop view {view};

-- name: update_fingerprint
-- A generator's fingerprint as the migrating Rowmill computes it. O(generators).
update state.generator
set fingerprint = $fingerprint
where generator = $generator and fingerprint <> $fingerprint;

-- name: table_count
-- How many tables and views a database that is not ours holds. O(tables).
select (select count(*) from duckdb_tables()) + (select count(*) from duckdb_views() where not internal) as tables;

-- name: older_rule
-- Whether this run was begun when values were cast to their column's type, and goes on so. O(1).
select count(*) > 0 as casts_values
from state.older_rule;

-- name: insert_run
-- The one row of state.run. O(1).
insert into state.run (name, seed, spec_directory, next_row_group, created_at, updated_at)
values ($name, $seed, $spec_directory, $next_row_group, $now, $now);

-- name: insert_shard
-- Notes which rows of a whole run this database holds. O(1).
insert into state.shard (number, shards, first_row, end_row, records)
values ($number, $shards, $first_row, $end_row, $records);

-- name: knows_of_shards
-- Whether the run database has the table of what it is a part of: those of older versions do not. O(tables).
select count(*) > 0 as knows
from duckdb_tables()
where schema_name = 'state' and table_name = 'shard';

-- name: read_shard
-- Which rows of a whole run this database holds; no row if it is the whole. O(1).
select
  first_row,
  end_row,
  records,
  number,
  shards
from state.shard;

-- name: insert_spec_version
-- Keeps the spec inside the database: a resume needs no other file. O(1).
insert into state.spec_version (version, spec, accepted_at)
select
  coalesce(max(version), 0) + 1,
  $spec,
  $now
from state.spec_version;

-- name: newest_spec
-- The spec the run goes on with, and where its relative paths start. O(spec versions).
select
  s.spec,
  r.spec_directory
from state.spec_version as s
cross join state.run as r
order by s.version desc
limit 1;

-- name: insert_generator
-- The graph's nodes, from the registered table new_generator. O(columns).
insert into state.generator by name
select * from new_generator;

-- name: insert_column_def
-- The columns, from the registered table new_column. O(columns).
insert into state.column_def by name
select * from new_column;

-- name: insert_dependency
-- The graph's edges, from the registered table new_dependency. O(edges).
insert into state.dependency by name
select * from new_dependency;

-- name: stored_generators
-- What the database was made for, to compare with a spec. O(columns).
select
  generator,
  name,
  fingerprint
from state.generator
order by generator;

-- name: stored_columns
-- Which columns the view dataset shows. O(columns).
select
  column_name,
  in_dataset
from state.column_def;

-- name: insert_plan_segment
-- Appends a segment to the plan: one row, whatever the number of row groups (P5). O(1).
insert into state.plan_segment (segment, first_row_group, row_groups, row_group_size, first_row, "rows")
values ($segment, $first_row_group, $row_groups, $row_group_size, $first_row, $rows);

-- name: acceptance_summary
-- How many rows are finished, and how many are planned (P6). O(segments).
select
  (select count(*) from state.dataset_row) as rows_finished,
  (select coalesce(sum(p."rows"), 0)::bigint from state.plan_segment as p) as rows_planned;

-- name: plan_more_rows
-- Appends a segment of $rows rows to the plan, in row groups of at most $row_group_size (P6). O(segments).
insert into state.plan_segment (segment, first_row_group, row_groups, row_group_size, first_row, "rows")
select
  count(*),
  coalesce(max(first_row_group + row_groups), 0),
  ($rows::bigint + $row_group_size::bigint - 1) // $row_group_size::bigint,
  $row_group_size,
  coalesce(max(first_row + "rows"), 0),
  $rows
from state.plan_segment;

-- name: plan_segments
-- The whole plan. O(segments).
select
  first_row_group,
  row_groups,
  row_group_size,
  first_row,
  "rows"
from state.plan_segment
order by segment;

-- name: plan_and_row_groups
-- How far the cursor of the plan has come, and how many row groups there are of those before it. O(admitted row groups).
select
  r.next_row_group,
  (select coalesce(max(p.first_row_group + p.row_groups), 0)::bigint from state.plan_segment as p) as planned,
  (select coalesce(min(p.first_row_group), 0)::bigint from state.plan_segment as p) as first_row_group,
  (select count(*) from state.admitted_row_group as g where g.state in ('active', 'parked')) as active,
  (select count(*) from state.admitted_row_group as g where g.state in ('waiting', 'due')) as held,
  (select count(*) from state.finished_row_group) as finished
from state.run as r;

-- name: reopen_run
-- A run that gets more to do is finished no more. O(1).
update state.run
set state = 'stopped', finished_at = null, reason = $reason, updated_at = $now
where state = 'finished';

-- name: upsert_resource
-- Sets the configured limits; what was learned stays as far as the new limit allows. O(resources).
merge into state.resource as r
using new_resource as n on r.resource = n.resource
when matched then
  update
    set
      configured_limit = n.configured_limit,
      learned_limit = case
        when r.learned_limit = r.configured_limit then n.configured_limit
        else least(r.learned_limit, n.configured_limit)
      end
when not matched then
  insert (resource, configured_limit, learned_limit)
  values (n.resource, n.configured_limit, n.configured_limit);

-- name: resource_memory
-- What earlier invocations learned of the resources: limits, and who still asks for patience. O(resources).
select
  resource,
  configured_limit,
  learned_limit,
  cooling_until
from state.resource;

-- name: note_rest
-- Until when a server rests, and why; null: it does not. O(resources).
update state.resource
set cooling_until = $until, reason = $reason
where resource = $resource;

-- name: begin_invocation
-- Signs in. An earlier invocation that never signed out is closed as crashed. O(invocations).
insert into state.invocation (invocation, pid, host, version, started_at)
select
  coalesce(max(invocation), 0) + 1,
  $pid,
  $host,
  $version,
  $now
from state.invocation
returning invocation;

-- name: close_crashed_invocations
-- Whoever did not sign out is gone: this process holds the file. O(invocations).
update state.invocation
set ended_at = $now, end_reason = 'crashed'
where ended_at is null;

-- name: defer_by_clock_of_today
-- Deferrals from a time that is still to come: the clock went back since. Each waits as long as it was to wait, from
-- now on (F4). O(deferred tasks).
update state.deferred_task
set
  not_before = not_before - (deferred_at - $now),
  first_deferred_at = first_deferred_at - (deferred_at - $now),
  deferred_at = $now
where deferred_at > $now;

-- name: cool_by_clock_of_today
-- The same for endpoints that cool down: as long as it was to be at the last turn. O(endpoints).
update state.resource
set cooling_until = cooling_until - (run.updated_at - $now)
from state.run as run
where run.updated_at > $now and cooling_until > $now;

-- name: put_off_refusals
-- Time in which nobody asked an endpoint does not count as its refusal (F1). O(endpoints).
update state.refusal
set since = since + greatest($now - run.updated_at, interval '0 seconds')
from state.run as run;

-- name: end_invocation
-- Signs out. O(invocations).
update state.invocation
set ended_at = $now, end_reason = $reason
where invocation = $invocation;

-- name: start_run
-- The run works from now on. O(1).
update state.run
set state = 'running', reason = null, started_at = coalesce(started_at, $now), updated_at = $now
where state <> 'finished';

-- name: say_alive
-- Tells the views of this connection that the process that works is the one that asks. O(1).
set variable rowmill_live = true;

-- name: stop_run
-- The run stops before its end, with the reason. O(1).
update state.run
set state = 'stopped', reason = $reason, updated_at = $now
where state = 'running';

-- name: run_state
-- Where the run is. O(1).
select
  name,
  state,
  reason,
  seed,
  next_row_group
from state.run;

-- name: insert_event
-- Something people may want to know later. O(1).
insert into state.event ("at", kind, subject, detail)
values ($now, $kind, $subject, $detail);

-- name: insert_events
-- Changes of this turn that people may want to know later, from the staged table new_event. O(events).
insert into state.event ("at", kind, subject, detail)
select
  $now,
  kind,
  subject,
  detail
from new_event;

-- name: trim_events
-- Keeps the newest $kept events: the journal of changes is bounded. O(events).
delete from state.event
where "at" < (
  select min(n."at")
  from (select e."at" from state.event as e order by e."at" desc limit $kept) as n
);

-- name: contradictions
-- The first few broken invariants, for the message of an internal error. O(rows).
select
  "rule",
  subject,
  detail
from main.invariant_violation
limit 5;

-- name: was_left_open
-- Whether the last process that worked on the run never signed out. O(invocations).
select exists (
  from state.invocation
  where ended_at is null
);

-- name: contradictions_of_unfinished_rows
-- The first few broken invariants of rows that are not finished; the others need the whole dataset. O(unfinished and dropped rows).
select
  "rule",
  subject,
  detail
from main.invariant_violation
where
  "rule" in (
    'plan: no gap between segments',
    'R1: admitted row group beyond the cursor',
    'R1: row outside an active row group',
    'A7: parked row outside a parked, waiting or due row group',
    'A7: parked rows of a row group do not add up',
    'row of an unfinished row group is missing',
    'R3: done before its inputs',
    'S3: skipped but not done',
    'deferred task of a row that does not wait for it',
    'deferred task of a row group that is not active',
    'R6: closed barrier that has not seen every row',
    'R6: row group waits and has work to do, or is due and has none',
    'R8: task deferred twice'
  )
limit 5;

-- name: checkpoint
-- Folds the log into the file; after DDL at once, because replay of DDL is where logs break. O(log).
checkpoint;

-- name: rewritable_blocks
-- Blocks of the file's structure with free pieces in them: the next checkpoint may write over them. O(blocks of structure).
select block_id
from pragma_metadata_info()
where free_blocks > 0;
