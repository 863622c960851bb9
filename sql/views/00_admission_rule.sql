/*
What decides about row groups, said once (rules A1, A2, A5; P1): macros, for the run that asks and for the view that shows. They hold no
state. Who calls them brings the facts.
*/

/* The first row of a row group, by the segment of the plan it is in. */
create or replace macro state.planned_first_row(row_group, segment) as
segment.first_row + (row_group - segment.first_row_group) * segment.row_group_size;

/* How many rows it has: the last one of a segment may have fewer. */
create or replace macro state.planned_row_count(row_group, segment) as
least(segment.row_group_size, segment."rows" - (row_group - segment.first_row_group) * segment.row_group_size);

/*
Why the next row group may not enter; null: it may. The first reason that holds (A5).

row_count: of the next row group, null if none is left. waits: row groups wait for a barrier. row_groups and live_rows: the active
ones. One may always enter when none is active (A1). When the bounds are reached, row groups that only wait are parked, unless
that bound is reached, too. blocks: deferred tasks leave it no work of its own (A4). wants: some resource could do more than
is ready; is_open: some resource it would start with takes tasks.
*/
create or replace macro state.admission_refusal(
  row_count, waits, row_groups, live_rows, parked_rows, max_rows, max_groups, max_parked_rows, blocks, wants, is_open
) as
case
  when row_count is null and waits then 'row groups wait for a barrier'
  when row_count is null then 'no group left'
  when row_groups = 0 then null
  when (live_rows + row_count > max_rows or row_groups >= max_groups) and parked_rows >= max_parked_rows
    then 'max parked rows'
  when live_rows + row_count > max_rows then 'max rows'
  when row_groups >= max_groups then 'max groups'
  when blocks then 'deferred tasks'
  when wants then null
  when is_open then 'enough ready work already'
  else 'resource saturated'
end;
