/*
How long results waited for their commit (D2). What is written was counted since the invocation began, so the last writing counts.
*/

-- name: begin_commit_lags
-- One row for each bound, the staged table new_commit_lag; once an invocation. O(bounds).
insert into state.commit_lag by name
from new_commit_lag;

-- name: note_commit_lags
-- What was counted of this invocation so far, from the staged table new_commit_lag. O(invocations).
update state.commit_lag as c
set results = n.results, lag_s = n.lag_s
from new_commit_lag as n
where c.invocation = n.invocation and c.upper_ms is not distinct from n.upper_ms;
