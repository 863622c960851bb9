/*
Where row groups are: every statement that moves one from a state to another, and none elsewhere.

                     park ┌────────┐ unpark
                 ┌───────►│ parked │────────┐
                 │        └────────┘        │
        admit ┌──┴─────┐◄───────────────────┘  finish   ┌──────────┐
     plan ───►│ active │──────────────────────────────►│ finished │
              └──┬──┬──┘◄───────────┐                  └──┬───────┘
       hold back │  │ set aside     │ return      ▲       │ bring back
                 ▼  └─────────────┐ │             │       │
           ┌─────────┐            ▼ │             │       │
           │ waiting │◄────────►┌─────┐───────────┘       │
           └────┬────┘ look     │ due │◄──────────────────┘
                │      again    └─────┘
                └────────────────────────────────► finished

plan      not admitted: its number is not below state.run.next_row_group; no table has a row of it.
active    in the working set: its rows are in state.active_row, its tasks are in the frontier.
parked    it waits for the resources in parked_for to take tasks again (A7). From here on its rows are in state.parked_row.
waiting   it can come no further before a barrier ran (R6).
due       it has work to do and comes back through admission, lowest first: rows of it were taken back or are made again.
          A parked or active one is set aside as due when cells are made again, so that all comes back in order.
finished  every row of it is in the dataset or dropped (K1). In a table of its own, which no turn reads.

came_from is the state before; a condition of the table allows these ways and no other. rows_parked counts the rows in
state.parked_row, rows_finished those in the dataset: only of a row group that was finished once there are any. Whoever moves
rows has the row groups follow them in the same transaction, by the statements of this file.
*/

-- name: admit_row_groups
-- Row groups of the plan become active (plan → active): about as many rows as are wanted, as long as nothing refuses them
-- (A1, A2, A4). O(groups admitted + admitted row groups).
insert into state.admitted_row_group (row_group, first_row, row_count, admitted_at)
with candidate as (
  select
    c.row_group,
    state.planned_first_row(c.row_group, p) as first_row,
    state.planned_row_count(c.row_group, p) as row_count
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
    $deferral_blocks,
    true,
    true
  ) is null
order by p.row_group
returning row_group, row_count;

-- name: park_row_groups
-- Row groups leave the working set until a resource they wait for takes tasks again (active → parked). Before their rows
-- are taken out of it. O(active rows).
update state.admitted_row_group as g
set state = 'parked', came_from = g.state, parked_for = n.parked_for, rows_parked = d.live_rows
from new_parking as n
inner join state.row_group_done as d on n.row_group = d.row_group
where g.row_group = n.row_group and g.state = 'active';

-- name: unpark_row_groups
-- Row groups are in the working set again (parked → active). O(admitted row groups).
update state.admitted_row_group
set state = 'active', came_from = state, parked_for = null, rows_parked = 0
where state = 'parked' and row_group in (select unnest($row_groups::bigint[]));

-- name: unpark_emptied_row_groups
-- Row groups whose last parked row was dropped wait for nothing any more: they are complete (parked → active; K1).
-- O(admitted row groups + parked rows).
update state.admitted_row_group
set state = 'active', came_from = state, parked_for = null, rows_parked = 0
where state = 'parked' and row_group not in (select p.row_group from state.parked_row as p);

-- name: hold_row_groups_back
-- Row groups wait for the barrier they have come to (active → waiting; R6). Before their rows are taken out of the working
-- set. O(active rows).
update state.admitted_row_group as g
set state = 'waiting', came_from = g.state, rows_parked = d.live_rows
from state.row_group_done as d
where g.row_group = d.row_group and g.state = 'active' and g.row_group in (select unnest($row_groups::bigint[]));

-- name: return_row_groups
-- Row groups that have work to do are in the working set again (due → active). O(admitted row groups).
update state.admitted_row_group
set state = 'active', came_from = state, rows_parked = 0
where state = 'due' and row_group in (select unnest($row_groups::bigint[]));

-- name: set_row_groups_aside
-- All row groups of the working set, and parked ones, that have rows come back with the others, lowest first (active → due, parked → due).
-- O(admitted row groups + parked rows).
update state.admitted_row_group as g
set state = 'due', came_from = g.state, parked_for = null, rows_parked = n.rows_parked
from (
  select
    row_group,
    count(*) as rows_parked
  from state.parked_row
  group by row_group
) as n
where g.row_group = n.row_group and g.state in ('active', 'parked');

-- name: look_at_row_groups_again
-- Row groups that wait have work to do, or those that had wait, as their rows and the open barriers have it (waiting → due, due → waiting).
-- O(admitted row groups + parked rows).
update state.admitted_row_group as g
set state = if(d.is_due, 'due', 'waiting'), came_from = g.state
from state.held_row_group as d
where g.row_group = d.row_group and g.state in ('waiting', 'due') and (g.state = 'due') <> d.is_due;

-- name: bring_row_groups_back
-- Finished row groups of which rows lie among the parked ones have work to do (finished → due). O(row groups + parked and dropped rows).
insert into state.admitted_row_group (
  row_group, first_row, row_count, admitted_at, state, came_from, rows_parked, rows_finished
)
select
  f.row_group,
  f.first_row,
  f.row_count,
  f.admitted_at,
  'due',
  'finished',
  c.rows_parked,
  f.row_count - c.rows_parked - c.rows_dropped
from state.finished_row_group as f
inner join state.parked_and_dropped as c on f.row_group = c.row_group
where c.rows_parked > 0
order by f.row_group;

-- name: forget_finished_row_groups
-- They are finished no more. O(row groups).
delete from state.finished_row_group
where row_group in (select g.row_group from state.admitted_row_group as g);

-- name: finish_row_groups
-- Records the facts of complete row groups, for ever, also with zero rows (active → finished; K1). $live_rows are those of each
-- that move into the dataset, which were counted to find them: looking at the rows again takes as long again. O(admitted
-- row groups).
insert into state.finished_row_group (
  row_group, first_row, row_count, rows_finished, rows_dropped, admitted_at, finished_at
)
select
  g.row_group,
  g.first_row,
  g.row_count,
  g.rows_finished + n.live_rows,
  g.row_count - g.rows_finished - n.live_rows,
  g.admitted_at,
  $now
from state.admitted_row_group as g
inner join (
  select
    unnest($row_groups::bigint[]) as row_group,
    unnest($live_rows::bigint[]) as live_rows
) as n on g.row_group = n.row_group
where g.state = 'active'
order by g.row_group
returning row_group, rows_finished, rows_dropped;

-- name: finish_emptied_row_groups
-- Row groups of which the barrier left no row to wait are finished, also with zero rows (waiting → finished, due → finished;
-- K1). O(admitted row groups + parked and dropped rows).
insert into state.finished_row_group (
  row_group, first_row, row_count, rows_finished, rows_dropped, admitted_at, finished_at
)
select
  g.row_group,
  g.first_row,
  g.row_count,
  g.row_count - coalesce(c.rows_dropped, 0),
  coalesce(c.rows_dropped, 0),
  g.admitted_at,
  $now
from state.admitted_row_group as g
left join state.parked_and_dropped as c on g.row_group = c.row_group
where g.state in ('waiting', 'due') and coalesce(c.rows_parked, 0) = 0
order by g.row_group
returning row_group;

-- name: forget_admitted_row_groups
-- Row groups that are finished are admitted no more. O(admitted row groups).
delete from state.admitted_row_group
where row_group in (select unnest($row_groups::bigint[]));

-- name: count_rows_of_row_groups
-- How many rows of row groups outside the working set are parked, and how many are in the dataset, after rows moved: no row group changes
-- its state. O(admitted row groups + parked and dropped rows).
update state.admitted_row_group as g
set rows_parked = c.rows_parked, rows_finished = g.row_count - c.rows_parked - c.rows_dropped
from state.parked_and_dropped as c
where
  g.row_group = c.row_group
  and g.state <> 'active'
  and (g.rows_parked, g.rows_finished) <> (c.rows_parked, g.row_count - c.rows_parked - c.rows_dropped);

-- name: count_rows_of_finished_row_groups
-- The same for finished row groups, of which a barrier dropped rows. O(row groups + dropped rows).
update state.finished_row_group as f
set rows_finished = f.row_count - n.rows_dropped, rows_dropped = n.rows_dropped
from (
  select
    g.row_group,
    count(d.row_group) as rows_dropped
  from state.finished_row_group as g
  left join state.dropped_row as d on g.row_group = d.row_group
  group by g.row_group
) as n
where f.row_group = n.row_group and f.rows_dropped <> n.rows_dropped;

-- name: row_group_summary
-- How many row groups are in which state, for what active and parked ones wait, and how many rows are parked for a resource. O(admitted
-- row groups).
select
  count(*) filter (where state = 'active') as active,
  count(*) filter (where state = 'parked') as parked,
  count(*) filter (where state = 'waiting') as waiting,
  count(*) filter (where state = 'due') as due,
  coalesce(sum(rows_parked) filter (where state = 'parked'), 0)::bigint as parked_rows,
  coalesce(list_distinct(flatten(list(parked_for) filter (where parked_for is not null))), []) as parked_for
from state.admitted_row_group;
