/*
The private tables every run database has, whatever its spec. The wide tables whose columns come
from the spec are in `spec_tables/`.

Nobody but the writer's transactions changes them. Times are TIMESTAMP in UTC. No table has an
index: rows are found by scans over few rows or by zone maps, and the log replays without them.
*/

create schema state;

/* The version of this layout; one row, raised by each migration. */
create table state.schema_version (
  version integer not null,
  rowmill_version varchar not null,
  migrated_at timestamp not null
);

/* What is made, and how far the cursor of the plan has come. Exactly one row, changed by every turn. */
create table state.run (
  name varchar not null,
  state varchar not null default 'new' check (state in ('new', 'running', 'stopped', 'finished')),
  reason varchar,
  seed bigint not null,
  spec_directory varchar not null,
  next_row_group bigint not null default 0,
  created_at timestamp not null,
  updated_at timestamp not null,
  started_at timestamp,
  finished_at timestamp,
  check (state = 'new' or started_at is not null),
  check ((state = 'finished') = (finished_at is not null))
);

/* Every spec the dataset was made from, newest last. Secrets appear only as ${NAME}. */
create table state.spec_version (
  version integer not null,
  spec json not null,
  accepted_at timestamp not null
);

/* One row per process that worked on this database. An invocation without ended_at crashed or lives. */
create table state.invocation (
  invocation integer not null,
  pid bigint not null,
  host varchar not null,
  version varchar not null,
  started_at timestamp not null,
  ended_at timestamp,
  end_reason varchar,
  check ((ended_at is null) = (end_reason is null))
);

/* The columns of the dataset in declaration order; side effects follow their generator's column. */
create table state.column_def (
  column_name varchar not null,
  generator integer not null,
  position integer not null,
  sql_type varchar not null,
  is_side_effect boolean not null,
  in_dataset boolean not null
);

/* The edges of the graph: generator needs a column that upstream makes. */
create table state.dependency (
  generator integer not null,
  upstream integer not null
);

/* What tasks occupy: a model endpoint or local workers. Written by the turn when an endpoint cools down. */
create table state.resource (
  resource varchar not null,
  configured_limit integer not null check (configured_limit > 0),
  learned_limit integer not null check (learned_limit > 0),
  cooling_until timestamp,
  reason varchar
);

/* How records are cut into row groups: a plan of any size is one row, each extension appends one. */
create table state.plan_segment (
  segment integer not null,
  first_row_group bigint not null,
  row_groups bigint not null,
  row_group_size bigint not null check (row_group_size > 0),
  first_row bigint not null,
  "rows" bigint not null check ("rows" > 0)
);

/*
Row groups that were admitted and are not finished. With the cursor (row groups from
next_row_group on are not admitted) this is all a resume has to read. A parked row group (A7) waits for the
resources in parked_for to stop cooling down; its rows rest in state.parked_row, outside the frontier. rows_finished counts
rows that are in the dataset already: only a row group that was finished and came back for dropped rows has any.
*/
create table state.active_row_group (
  row_group bigint not null,
  first_row bigint not null,
  row_count bigint not null,
  admitted_at timestamp not null,
  parked_for varchar[],
  rows_finished bigint not null default 0
);

/* Row groups that are done, for ever; also those of which no row survived (K1). */
create table state.finished_row_group (
  row_group bigint not null,
  first_row bigint not null,
  row_count bigint not null,
  rows_finished bigint not null,
  rows_dropped bigint not null,
  admitted_at timestamp not null,
  finished_at timestamp not null,
  check (rows_finished + rows_dropped = row_count)
);

/*
Finished row groups whose on_row_group_finished callback has not returned yet: it is called at least once for each,
also across crashes (K3). Kept only by invocations that have a callback.
*/
create table state.unannounced_row_group (
  row_group bigint not null,
  rows_finished bigint not null,
  rows_dropped bigint not null
);

/* What an ordered generator returned to be handed back on its next call, as of its last finished call (R10). */
create table state.generator_state (
  generator integer not null,
  row_group bigint not null,
  "state" json
);

/* Per finished row group, how many cells of a generator were skipped; no row where none was (S3). */
create table state.finished_skip (
  row_group bigint not null,
  generator integer not null,
  skipped bigint not null
);

/* Rows given up, with the reason. Their values rest in state.dropped_row_value. */
create table state.dropped_row (
  row_id bigint not null,
  row_group bigint not null,
  row_index bigint not null,
  generator integer not null,
  reason varchar not null check (reason in ('rejected', 'retries_exhausted', 'filtered', 'given_up')),
  error_type varchar,
  message varchar,
  attempts integer not null,
  dropped_at timestamp not null
);

/*
Tasks that failed in a way worth another attempt. A batch task has row_index -1. `attempts` counts
failures against max_attempts; being rate limited never raises it (F1).
*/
create table state.deferred_task (
  generator integer not null,
  row_group bigint not null,
  row_index bigint not null,
  attempts integer not null,
  error_type varchar not null,
  message varchar not null,
  not_before timestamp not null,
  deferred_at timestamp not null,
  first_deferred_at timestamp not null
);

/* Every request that was made of a model, and every failed call. Only ever appended to. */
create table state.attempt (
  invocation integer not null,
  generator integer not null,
  row_group bigint not null,
  row_index bigint not null,
  row_id bigint,
  attempt integer not null,
  outcome varchar not null,
  error_type varchar,
  message varchar,
  model varchar,
  started_at timestamp not null,
  duration_ms double not null,
  input_tokens bigint not null,
  output_tokens bigint not null,
  cost_usd double
);

/* What happened to the run as a whole, for people. */
create table state.event (
  "at" timestamp not null,
  kind varchar not null,
  subject varchar,
  detail varchar
);
