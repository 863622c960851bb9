/*
Making rows again that a validation column found invalid (on_invalid: regenerate). The verdict is in its row when these statements
run, in the same transaction. A call for the row that is under way works on values that are gone now: its task is marked as outdated, in
the memory of the process (outdated_task), and its result will not be taken.
*/

-- name: has_regenerations
-- Was any row that is there made again? O(1).
select exists (from state.regeneration);

-- name: rows_found_invalid
-- The rows a validation column found invalid, if they live and its verdict still stands; how often they were made again, and whether
-- anything of what made them can be: what was skipped is not. O(active rows).
select
  a.row_group,
  a.row_index,
  a.row_id,
  n.message,
  coalesce(r.regenerations, 0) as regenerations,
  ({predicate}) as can_change
from state.active_row as a
inner join invalid_row as n on a.row_group = n.row_group and a.row_index = n.row_index
left join state.regeneration as r
  on n.generator = r.generator and n.row_group = r.row_group and n.row_index = r.row_index
where n.generator = $generator and {is_done}
order by a.row_id;

-- name: count_regenerations
-- One more regeneration of each of these rows. O(regenerated rows).
merge into state.regeneration as r
using regenerated_row as n
  on r.generator = n.generator and r.row_group = n.row_group and r.row_index = n.row_index
when matched then update set regenerations = r.regenerations + 1
when not matched then
  insert (generator, row_group, row_index, regenerations)
  values (n.generator, n.row_group, n.row_index, 1);

-- name: tasks_to_outdate
-- Tasks in flight that work on what is about to be cleared in these rows. O(in flight).
select
  i.generator,
  n.row_group,
  n.row_index
from in_flight as i
inner join regenerated_row as n on i.row_group = n.row_group and i.row_index in (n.row_index, -1)
where i.generator in (select unnest($generators::integer[]));

-- name: clear_active_cells
-- The cells to be made again: their bits are cleared, unless that which they follow from was skipped. O(active rows).
update state.active_row as a
set {clear}
from regenerated_row as n
where a.row_group = n.row_group and a.row_index = n.row_index and not ({is_skipped});

-- name: regenerations_of_pulled
-- How often the values of pulled tasks were made before; of a batch task, those of all its rows together. O(tasks + regenerations).
select
  p.generator,
  p.row_group,
  p.row_index,
  sum(r.regenerations)::integer as regenerations
from pulled_task as p
inner join (
  select
    r.row_group,
    r.row_index,
    m.generator,
    r.regenerations
  from state.regeneration as r
  inner join (values {pairs}) as m (validation, generator) on r.generator = m.validation
  union all
  select
    r.row_group,
    -1,
    m.generator,
    sum(r.regenerations)
  from state.regeneration as r
  inner join (values {pairs}) as m (validation, generator) on r.generator = m.validation
  group by
    r.row_group,
    m.generator
) as r
  on p.generator = r.generator and p.row_group = r.row_group and p.row_index = r.row_index
group by
  p.generator,
  p.row_group,
  p.row_index;

-- name: forget_regenerations
-- Row groups that are finished need no count any more. O(regenerations + admitted row groups).
delete from state.regeneration
where row_group not in (select g.row_group from state.admitted_row_group as g);
