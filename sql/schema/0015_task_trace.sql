/*
When each task was handed out, started and ended, and how it ended (T1), in runs that ask for it (run: {trace: true}). Written by the
turn that takes the outcome in, never changed. A batch task has row_index -1 and no row_id; a task that was skipped never started.
*/

create table state.task_trace (
  invocation integer not null,
  generator integer not null,
  row_group bigint not null,
  row_index bigint not null,
  row_id bigint,
  handed_out_at timestamp not null,
  started_at timestamp,
  ended_at timestamp not null,
  outcome varchar not null,
  worker varchar not null
);
