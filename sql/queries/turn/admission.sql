/*
Letting row groups in (A1, A2) and making their rows: seed values, samplers and the SQL expressions over them
are computed in the same INSERT that creates the rows, level by level of the graph. Row groups themselves move by the statements
of row_groups.sql.
*/

-- name: root_generators
-- The generators whose tasks a new row group brings at once, and what these occupy. O(columns).
select
  generator,
  resource
from state.root_generator
order by generator;

-- name: deferral_blocks_admission
-- Would the next row group bring no work independent of the deferred tasks (A4)? And until when the first resource rests. O(columns
-- + deferred).
select
  v.blocks,
  (select min(r.cooling_until) from state.resource as r where r.cooling_until > $now) as cools_until
from state.deferral_verdict as v;

-- name: planned_row_groups
-- How many row groups the plan has. O(segments).
select coalesce(sum(row_groups), 0)::bigint as row_groups
from state.plan_segment;

-- name: why_no_row_group_enters
-- The reason why none entered although there is a use for one, in the words of the view admission (A5). O(admitted row groups
-- + segments).
select
  state.admission_refusal(
    f.row_count,
    f.waits,
    f.row_groups,
    f.live_rows,
    f.parked_rows,
    $max_active_rows,
    $max_active_row_groups,
    $max_parked_rows,
    $deferral_blocks,
    true,
    true
  ) as reason
from state.admission_fact as f;

-- name: due_row_groups
-- Row groups that have work to do, lowest first, about as many rows as are wanted, as long as nothing refuses them (A1, A2,
-- A4). O(admitted row groups + active rows).
select p.row_group
from (
  select
    g.row_group,
    row_number() over (order by g.row_group) as place,
    sum(g.rows_parked) over (order by g.row_group) as rows_so_far,
    g.rows_parked
  from (
    select
      r.row_group,
      r.rows_parked
    from state.admitted_row_group as r
    where r.state = 'due'
    order by r.row_group
    limit $max_active_row_groups
  ) as g
) as p
cross join state.working_set as a
where
  (p.rows_so_far - p.rows_parked < $wanted_rows or p.place = 1)
  and state.admission_refusal(
    p.rows_parked,
    false,
    a.row_groups + p.place - 1,
    a.live_rows + p.rows_so_far - p.rows_parked,
    0,
    $max_active_rows,
    $max_active_row_groups,
    1,
    $deferral_blocks,
    true,
    true
  ) is null
order by p.row_group;

-- name: parkable_row_groups
-- Active row groups with nothing in flight whose ready tasks all wait for resources that cool down, or are deferred by a local
-- generator that refuses (A7). O(active rows).
select
  f.row_group,
  list(distinct t.key) as parked_for
from state.frontier as f
inner join state.task_generator as t on f.generator = t.generator
left join state.resource as r on t.key = r.resource and r.cooling_until > $now
left join state.refusal as l on t.key = l.resource and t.is_local and f.not_before > $now
where
  f.row_group not in (select i.row_group from in_flight as i)
  and not exists (from state.ordered_place as o where o.row_group = f.row_group)
group by f.row_group
having count(coalesce(r.resource, l.resource)) = count(*);

-- name: park_rows
-- The rows of row groups that are parked leave the frontier's tables. O(active rows).
insert into state.parked_row
select a.*
from state.active_row as a
semi join new_parking as n on a.row_group = n.row_group
order by a.row_id;

-- name: delete_parked_from_active
-- They are no longer in the working set. O(active rows).
delete from state.active_row
where row_group in (select n.row_group from new_parking as n);

-- name: unparkable_row_groups
-- Parked row groups that wait for one of $keys, or for one of $asked_again and have a task whose time has come, lowest first,
-- about as many rows as are wanted, within the bounds on active ones; at least one row group if none is active (A2, A7).
-- O(admitted row groups + active rows + deferred).
select p.row_group
from (
  select
    g.row_group,
    row_number() over (order by g.row_group) as place,
    sum(g.row_count) over (order by g.row_group) as rows_so_far,
    g.row_count
  from state.admitted_row_group as g
  where
    g.state = 'parked'
    and (
      list_has_any(g.parked_for, $keys::varchar[])
      or (
        list_has_any(g.parked_for, $asked_again::varchar[])
        and g.row_group in (select d.row_group from state.deferred_task as d where d.not_before <= $now)
      )
    )
) as p
cross join state.working_set as a
where
  (p.rows_so_far - p.row_count < $wanted_rows or p.place = 1)
  and state.admission_refusal(
    p.row_count,
    false,
    a.row_groups + p.place - 1,
    a.live_rows + p.rows_so_far - p.row_count,
    0,
    $max_active_rows,
    $max_active_row_groups,
    1,
    false,
    true,
    true
  ) is null
order by p.row_group;

-- name: unpark_rows
-- Their rows return to the working set. O(parked rows of these groups, by zone maps).
insert into state.active_row
select *
from state.parked_row
where row_group in (select unnest($row_groups::bigint[]))
order by row_id;

-- name: delete_unparked_rows
-- They are parked no more. O(parked rows of these groups).
delete from state.parked_row
where row_group in (select unnest($row_groups::bigint[]));

-- name: advance_cursor
-- Moves the plan's cursor past the row groups just admitted. O(1).
update state.run
set next_row_group = $next_row_group;

-- name: insert_active_rows
-- Makes the rows of the row groups just admitted, with everything SQL alone can make. O(rows admitted).
insert into state.active_row ({columns})
select {columns}
from ({source})
order by row_id;

-- name: admitted_row
-- The innermost source of insert_active_rows: one row per row of the admitted row groups. O(rows admitted).
select
  n.row_group,
  n.row_index,
  n.first_row + n.row_index as row_id
from (
  select
    g.row_group,
    g.first_row,
    unnest(range(g.row_count)) as row_index
  from state.admitted_row_group as g
  where g.row_group >= $first_admitted
) as n;

-- name: admitted_row_with_seed
-- The same, joined with the seed dataset: row_id r takes seed row r modulo its size (wraps around). O(rows admitted).
select
  n.row_group,
  n.row_index,
  n.first_row + n.row_index as row_id,
  s.* exclude (row_index)
from (
  select
    g.row_group,
    g.first_row,
    unnest(range(g.row_count)) as row_index
  from state.admitted_row_group as g
  where g.row_group >= $first_admitted
) as n
inner join state.seed_row as s on (n.first_row + n.row_index) % $seed_rows = s.row_index;

-- name: admitted_level
-- One level of the graph over the levels before it. O(rows admitted).
select
  *,
  {values}
from ({source});
