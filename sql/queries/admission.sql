/*
Letting row groups in (A1, A2) and making their rows: seed values, samplers and the SQL expressions over them
are computed in the same INSERT that creates the rows, level by level of the graph.
*/

-- name: admit_row_groups
-- Admits the next row groups of the plan as far as the bounds allow; at least one if none is active. O(groups admitted).
insert into state.active_row_group (row_group, first_row, row_count, admitted_at)
with active as (
  select
    (select count(*) from state.active_row_group) as row_groups,
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
  )
  or (a.row_groups = 0 and p.place = 1)
order by p.row_group
returning row_group, row_count;

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
