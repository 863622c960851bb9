/*
What `rowmill show` lists, each from its public view in the order that serves reading. They run on a
read-only connection; $limit is the greatest number of rows, null for all.
*/

-- name: show_rows
-- The finished rows. O(limit).
select *
from main.dataset
limit $limit;

-- name: show_groups
-- The row groups that were admitted, in plan order. O(row groups).
select *
from main.row_group
order by row_group
limit $limit;

-- name: show_ready
-- The tasks of the frontier, lowest row group first. O(active rows).
select *
from main.ready_task
order by
  row_group,
  row_index,
  generator
limit $limit;

-- name: show_deferred
-- The deferred tasks, the one that becomes ready first on top. O(deferred).
select *
from main.deferred_task
order by
  not_before,
  row_group,
  row_index,
  generator
limit $limit;

-- name: show_dropped
-- The dropped rows and their reasons. O(dropped).
select *
from main.dropped_row
order by row_id
limit $limit;

-- name: show_attempts
-- The requests and failed calls, the latest first. O(attempts).
select *
from main.attempt
order by
  started_at desc,
  row_id asc,
  attempt desc
limit $limit;

-- name: show_events
-- What happened, the latest first. O(events).
select *
from main.event
order by "at" desc
limit $limit;

-- name: show_usage
-- Requests, tokens and cost by model, invocation and hour. O(attempts).
select *
from main.usage
order by
  model,
  invocation,
  hour
limit $limit;

-- name: show_resources
-- The endpoints and worker pools with their limits. O(resources).
select *
from main.resource
order by resource
limit $limit;

-- name: show_admission
-- Whether the next row group may enter, and why not. O(active rows).
select *
from main.admission
limit $limit;
