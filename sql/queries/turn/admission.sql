/*
Letting row groups in (A1, A2) and making their rows: seed values, samplers and the SQL expressions over them
are computed in the same INSERT that creates the rows, level by level of the graph.
*/

-- name: admit_row_groups
-- Admits the next row groups of the plan, about as many rows as are wanted, as far as the bounds allow; at least one
-- row group if none is active (A1, A2). O(groups admitted).
insert into state.active_row_group (row_group, first_row, row_count, admitted_at)
with active as (
  select
    (select count(*) from state.active_row_group as g where g.parked_for is null) as row_groups,
    (select count(*) from state.active_row) as live_rows
),

candidate as (
  select
    c.row_group,
    p.first_row + (c.row_group - p.first_row_group) * p.row_group_size as first_row,
    least(p.row_group_size, p."rows" - (c.row_group - p.first_row_group) * p.row_group_size) as row_count
  from (
    select unnest(range(r.next_row_group, r.next_row_group + $max_active_row_groups)) as row_group
    from state.run as r
  ) as c
  inner join state.plan_segment as p
    on c.row_group >= p.first_row_group and c.row_group < p.first_row_group + p.row_groups
),

placed as (
  select
    c.row_group,
    c.first_row,
    c.row_count,
    row_number() over (order by c.row_group) as place,
    sum(c.row_count) over (order by c.row_group) as rows_so_far
  from candidate as c
)

select
  p.row_group,
  p.first_row,
  p.row_count,
  $now
from placed as p
cross join active as a
where
  (
    a.row_groups + p.place <= $max_active_row_groups
    and a.live_rows + p.rows_so_far <= $max_active_rows
    and p.rows_so_far - p.row_count < $wanted_rows
  )
  or (a.row_groups = 0 and p.place = 1)
order by p.row_group
returning row_group, row_count;

-- name: root_resources
-- What the tasks of a new row group occupy at once. O(columns).
select distinct resource
from state.root_generator;

-- name: deferral_blocks_admission
-- Would the next row group bring no work independent of the deferred tasks (A4)? O(columns + deferred).
select
  (
    exists (from state.blocking_deferral)
    and not exists (from state.independent_generator)
  ) as blocks,
  (select min(r.cooling_until) from state.resource as r where r.cooling_until > $now) as cools_until;

-- name: active_summary
-- How many row groups are active, how many of them are parked, and for which resources (A1, A7). O(active groups).
select
  count(*) as row_groups,
  count(parked_for) as row_groups_parked,
  coalesce(list_distinct(flatten(list(parked_for) filter (where parked_for is not null))), []) as parked_for
from state.active_row_group;

-- name: parked_rows
-- How many rows are parked; resting ones, in the same table, are not. O(resting groups).
select
  (select count(*) from state.parked_row)
  - (select coalesce(sum(r.rows_resting), 0)::bigint from state.resting_row_group as r) as parked_rows;

-- name: has_due_row_group
-- Does any resting row group have work to do? O(resting groups).
select exists (from state.resting_row_group as r where r.is_due);

-- name: due_row_groups
-- Resting row groups that have work to do, lowest first, about as many rows as are wanted, within the bounds on active ones; at
-- least one row group if none is active (A1, A2). O(resting groups + active rows).
select p.row_group
from (
  select
    g.row_group,
    row_number() over (order by g.row_group) as place,
    sum(g.rows_resting) over (order by g.row_group) as rows_so_far,
    g.rows_resting
  from (
    select
      r.row_group,
      r.rows_resting
    from state.resting_row_group as r
    where r.is_due
    order by r.row_group
    limit $max_active_row_groups
  ) as g
) as p
cross join (
  select
    (select count(*) from state.active_row_group as g where g.parked_for is null) as row_groups,
    (select count(*) from state.active_row) as live_rows
) as a
where
  (
    p.rows_so_far - p.rows_resting < $wanted_rows
    and a.row_groups + p.place <= $max_active_row_groups
    and a.live_rows + p.rows_so_far <= $max_active_rows
  )
  or (a.row_groups = 0 and p.place = 1)
order by p.row_group;

-- name: activate_resting_row_groups
-- These row groups are active again. O(groups).
insert into state.active_row_group (row_group, first_row, row_count, admitted_at, rows_finished)
select
  row_group,
  first_row,
  row_count,
  admitted_at,
  rows_finished
from state.resting_row_group
where row_group in (select unnest($row_groups::bigint[]))
order by row_group;

-- name: delete_activated_row_groups
-- They rest no more. O(resting groups).
delete from state.resting_row_group
where row_group in (select unnest($row_groups::bigint[]));

-- name: parkable_row_groups
-- Active row groups with nothing in flight whose ready tasks all wait for cooling resources (A7). O(active rows).
select
  f.row_group,
  list(distinct f.resource) as parked_for
from state.frontier as f
left join state.resource as r on f.resource = r.resource and r.cooling_until > $now
where
  f.row_group not in (select i.row_group from in_flight as i)
  and not exists (from state.ordered_place as o where o.row_group = f.row_group)
group by f.row_group
having count(r.resource) = count(*);

-- name: mark_parked
-- These row groups leave the working set until a resource they wait for takes tasks again. O(groups).
update state.active_row_group as g
set parked_for = n.parked_for
from new_parking as n
where g.row_group = n.row_group;

-- name: park_rows
-- Their rows rest outside the frontier's tables. O(active rows).
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
-- Parked row groups that wait for one of $resources, lowest first, about as many rows as are wanted, within the bounds on
-- active ones; at least one row group if none is active (A2, A7). O(active and parked groups + active rows).
select p.row_group
from (
  select
    g.row_group,
    row_number() over (order by g.row_group) as place,
    sum(g.row_count) over (order by g.row_group) as rows_so_far,
    g.row_count
  from state.active_row_group as g
  where list_has_any(g.parked_for, $resources)
) as p
cross join (
  select
    (select count(*) from state.active_row_group as g where g.parked_for is null) as row_groups,
    (select count(*) from state.active_row) as live_rows
) as a
where
  (
    p.rows_so_far - p.row_count < $wanted_rows
    and a.row_groups + p.place <= $max_active_row_groups
    and a.live_rows + p.rows_so_far <= $max_active_rows
  )
  or (a.row_groups = 0 and p.place = 1)
order by p.row_group;

-- name: mark_unparked
-- These row groups are in the working set again. O(groups).
update state.active_row_group
set parked_for = null
where row_group in (select unnest($row_groups::bigint[]));

-- name: unpark_rows
-- Their rows return to the working set. O(parked rows of these groups, by zone maps).
insert into state.active_row
select *
from state.parked_row
where row_group in (select unnest($row_groups::bigint[]))
order by row_id;

-- name: delete_unparked_rows
-- They rest no more. O(parked rows of these groups).
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
  from state.active_row_group as g
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
  from state.active_row_group as g
  where g.row_group >= $first_admitted
) as n
inner join state.seed_row as s on (n.first_row + n.row_index) % $seed_rows = s.row_index;

-- name: admitted_level
-- One level of the graph over the levels before it. O(rows admitted).
select
  *,
  {values}
from ({source});
