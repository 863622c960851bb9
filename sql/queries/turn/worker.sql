/*
Workers elsewhere, as they stand: for people. Written beside turns by the invocation that has them; nothing is decided by it.
*/

-- name: forget_workers
-- Workers of which something new is staged as new_worker. O(workers).
delete from state.worker as w
using new_worker as n
where w.invocation = $invocation and w.name = n.name;

-- name: keep_workers
-- Workers as they stand now. O(workers).
insert into state.worker by name
select
  $invocation::integer as invocation,
  n.*
from new_worker as n;

-- name: bound_workers
-- Workers that ended go when there are more of them than $most, the oldest first. O(workers).
delete from state.worker
where
  ended_at is not null
  and ended_at < (
    select min(kept.ended_at)
    from (
      select w.ended_at
      from state.worker as w
      where w.ended_at is not null
      order by w.ended_at desc
      limit $most
    ) as kept
  );

-- name: forget_worker_groups
-- Groups of workers of this and earlier invocations. O(groups).
delete from state.worker_group;

-- name: keep_worker_groups
-- Groups of workers as they stand now. O(groups).
insert into state.worker_group by name
select
  $invocation::integer as invocation,
  n.*
from new_worker_group as n;
