/*
Steering a run by hand. A request is written in the transaction that applies it, so it was applied once or not at all; what it
decided for longer than a moment (a pause, limits) has a table of its own, which the next invocation starts from.
*/

/* Every request that was applied, refused, or asked for what was so already. */
create table state.control_request (
  request_id varchar not null,
  verb varchar not null,
  arguments json not null,
  requested_by varchar not null,
  requested_at timestamp not null,
  applied_at timestamp not null,
  outcome varchar not null check (outcome in ('applied', 'already', 'refused')),
  result varchar not null,
  rows_affected bigint not null
);

/* At most one row: since when, and by whom, the run hands out no tasks. */
create table state.pause (
  paused_at timestamp not null,
  paused_by varchar not null
);

/* Limits people set; resource is null for all tasks in flight together. */
create table state.limit_by_hand (
  resource varchar,
  calls integer not null check (calls > 0),
  set_at timestamp not null,
  set_by varchar not null
);

/* The same as before, with one more reason: given up by a person. */
create table state.dropped_row_with_reason (
  row_id bigint not null,
  row_group bigint not null,
  row_index bigint not null,
  generator integer not null,
  reason varchar not null check (reason in ('rejected', 'retries_exhausted', 'filtered', 'given_up', 'duplicate', 'by_hand')),
  error_type varchar,
  message varchar,
  attempts integer not null,
  dropped_at timestamp not null
);

insert into state.dropped_row_with_reason
select * from state.dropped_row;

drop table state.dropped_row;

alter table state.dropped_row_with_reason rename to dropped_row;
