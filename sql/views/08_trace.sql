/*
The trace of tasks: when each was handed out, started and ended. Empty unless the spec says run: {trace: true}. Nothing is stored for
task_time: it sums up the trace when somebody asks, in time that grows with the tasks.
*/

create view main.task_trace as
select
  t.invocation,
  g.name as generator,
  t.row_group,
  nullif(t.row_index, -1) as row_index,
  t.row_id,
  t.handed_out_at,
  t.started_at,
  t.ended_at,
  t.outcome,
  t.worker,
  epoch_us(coalesce(t.started_at, t.ended_at) - t.handed_out_at) / 1000 as waiting_ms,
  coalesce(epoch_us(t.ended_at - t.started_at), 0) / 1000 as working_ms
from state.task_trace as t
inner join state.known_generator as g on t.generator = g.generator;

create view main.task_time as
select
  generator,
  count(*) as tasks,
  sum(waiting_ms) / 1000 as waiting_s,
  sum(working_ms) / 1000 as working_s,
  max(working_ms) / 1000 as longest_s
from main.task_trace
group by generator
order by working_s desc;

comment on view main.task_trace is 'Tasks that ended, in runs with run: {trace: true}: when each was handed out, started and ended.';
comment on column main.task_trace.invocation is 'The invocation that made the call.';
comment on column main.task_trace.generator is 'The generator that was called: the name of its column.';
comment on column main.task_trace.row_group is 'The row group of the task; -1 of a task over the whole dataset.';
comment on column main.task_trace.row_index is 'Place of the row in its row group; null of a batch task.';
comment on column main.task_trace.row_id is 'The row; null of a batch task.';
comment on column main.task_trace.handed_out_at is 'When the turn handed the ready task out, UTC.';
comment on column main.task_trace.started_at is 'When its call started, UTC; null if it was skipped.';
comment on column main.task_trace.ended_at is 'When its call ended, UTC.';
comment on column main.task_trace.outcome is 'succeeded, skipped, rate_limited, transient, rejected, stop, or released: cut off, and ready again.';
comment on column main.task_trace.worker is 'Where the call ran: local, in the process of the invocation.';
comment on column main.task_trace.waiting_ms is 'Milliseconds from being handed out to its start.';
comment on column main.task_trace.working_ms is 'Milliseconds from start to end.';
comment on view main.task_time is 'Which column is slow: time its tasks waited and worked, from task_trace.';
comment on column main.task_time.generator is 'The generator: the name of its column.';
comment on column main.task_time.tasks is 'Tasks that ended, retries counted.';
comment on column main.task_time.waiting_s is 'Seconds its tasks waited for their start, all together.';
comment on column main.task_time.working_s is 'Seconds its calls took, all together.';
comment on column main.task_time.longest_s is 'Seconds the longest call took.';
