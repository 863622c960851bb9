/*
The frontier: which tasks have all their inputs (rules R1 to R6, R10). Private views in `state`, on which the
turn's pull and the public views `ready_task` and `cell` stand, so that there is one definition.

Many rows share one done set, so each set is compared with each generator once and rows find their
ready generators by an equality join: no comparison of every row with every generator. Parked rows (A7) are in another
table and cost nothing here.
Slots: {set_columns} done_0, …; {same_set} a.done_0 = d.done_0 and …; {upstream_done} and {is_done} compare
d.done_N with g.upstream_N and g.own_N; {group_done} bit_and over the group; {in_order} and {batch_in_order} hold
ordered generators to their lowest unfinished row group, and are true where the spec has none; {ready_tasks} is
ready_cell, ready_batch, ready_cell_or_batch or ready_of_any_kind (with barriers that are called), as the
spec has such generators: what is not there need not be planned.
*/

/* Every done set that occurs in the working set, with what it means for every generator. */
create view state.done_set as
with seen as (
  select distinct {set_columns}
  from state.active_row
)

select
  {set_columns_of_d},
  g.generator,
  g.strategy,
  g.resource,
  g.is_ordered,
  {is_done} as is_done,
  {upstream_done} as has_inputs
from seen as d
cross join state.generator as g;

/* One row per active row group: the generators done for every live row, and how many rows live. */
create view state.row_group_done as
select
  g.row_group,
  g.first_row,
  g.row_count,
  g.admitted_at,
  g.rows_finished,
  count(a.row_id) as live_rows,
  {group_done}
from state.admitted_row_group as g
left join state.active_row as a on g.row_group = a.row_group
where g.state = 'active'
group by
  g.row_group,
  g.first_row,
  g.row_count,
  g.admitted_at,
  g.rows_finished;

/* What the bounds on admission look at (A2): one row. */
create view state.working_set as
select
  (select count(*) from state.admitted_row_group as g where g.state = 'active') as row_groups,
  (select count(*) from state.active_row) as live_rows;

/* The row group an ordered generator is at: the lowest one it has not finished (R10). */
create view state.ordered_place as
select
  g.generator,
  min(d.row_group) as row_group
from state.row_group_done as d
cross join state.generator as g
where g.is_ordered and d.live_rows > 0 and not {is_done}
group by g.generator;

/* Cell tasks: a live row, not done by the generator, everything upstream done for that row (R3). */
create view state.ready_cell as
select
  d.generator,
  d.resource,
  a.row_group,
  a.row_index,
  a.row_id
from state.active_row as a
inner join state.done_set as d on {same_set}
where d.strategy = 'cell' and d.has_inputs and not d.is_done and {in_order};

/* Batch tasks: everything upstream done for every live row, at least one row lives and is not done (R4). */
create view state.ready_batch as
select
  g.generator,
  g.resource,
  d.row_group,
  -1 as row_index,
  d.first_row as row_id
from state.row_group_done as d
cross join state.generator as g
where g.strategy = 'batch' and d.live_rows > 0 and {upstream_done} and not {is_done} and {batch_in_order};

/* Both, for a spec that has both kinds of generators. */
create view state.ready_cell_or_batch as
select * from state.ready_cell
union all
select * from state.ready_batch;

/* And the tasks of barriers, for a spec that has such (R6). */
create view state.ready_of_any_kind as
select * from state.ready_cell_or_batch
union all
select * from state.ready_dataset;

/* All tasks that have their inputs, with what is known of earlier attempts. */
create view state.frontier as
select
  r.generator,
  r.resource,
  r.row_group,
  r.row_index,
  r.row_id,
  f.not_before,
  coalesce(f.attempts, 0) as attempts,
  coalesce(f.deferrals, 0) as deferrals
from state.{ready_tasks} as r
left join state.deferred_task as f
  on r.generator = f.generator and r.row_group = f.row_group and r.row_index = f.row_index;

/* Every live row, in the working set or parked. */
create view state.live_row as
select * from state.active_row
union all
select * from state.parked_row;

/* How many rows of each row group are parked, and how many were dropped; no line where none is. O(parked and dropped rows). */
create view state.parked_and_dropped as
select
  row_group,
  count(*) filter (where is_parked) as rows_parked,
  count(*) filter (where not is_parked) as rows_dropped
from (
  select
    row_group,
    true as is_parked
  from state.parked_row
  union all
  select
    row_group,
    false as is_parked
  from state.dropped_row
)
group by row_group;

/* Resources at which nothing starts for now, by the time of the last turn. */
create view state.cooling_resource as
select
  r.resource,
  r.cooling_until,
  r.reason
from state.resource as r
cross join state.run as n
where r.cooling_until > n.updated_at;
