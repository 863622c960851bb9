/*
The trace of tasks (T1): one row for each that ended, in runs that ask for it.
*/

-- name: insert_task_traces
-- Traces of the tasks whose outcomes this turn takes in. O(outcomes).
insert into state.task_trace by name
from new_task_trace;
