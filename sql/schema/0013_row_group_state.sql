/*
An admitted row group has one state, in one table. Before, it was spread over a table of active ones, one of resting ones
and a column; finished ones stay apart, so that all a resume has to read is what is not finished. Which states there are, and
who moves a row group from one to the next: see queries/turn/row_groups.sql.
*/

create table state.admitted_row_group (
  row_group bigint not null,
  first_row bigint not null,
  row_count bigint not null,
  admitted_at timestamp not null,
  state varchar not null default 'active' check (state in ('active', 'parked', 'waiting', 'due')),
  came_from varchar not null default 'plan',
  parked_for varchar[],
  rows_parked bigint not null default 0,
  rows_finished bigint not null default 0,
  check (
    (came_from || ' > ' || state) in (
      'plan > active',
      'active > parked',
      'parked > active',
      'active > waiting',
      'waiting > due',
      'due > waiting',
      'due > active',
      'active > due',
      'parked > due',
      'finished > due'
    )
  ),
  check ((state = 'parked') = (parked_for is not null)),
  check ((state = 'active') = (rows_parked = 0)),
  check (rows_finished >= 0 and rows_parked >= 0 and rows_finished + rows_parked <= row_count)
);

insert into state.admitted_row_group
select
  g.row_group,
  g.first_row,
  g.row_count,
  g.admitted_at,
  if(g.parked_for is null or p.parked is null, 'active', 'parked') as state,
  if(g.parked_for is null or p.parked is null, 'plan', 'active') as came_from,
  if(p.parked is null, null, g.parked_for) as parked_for,
  if(g.parked_for is null, 0, coalesce(p.parked, 0)) as rows_parked,
  g.rows_finished
from state.active_row_group as g
left join (
  select
    row_group,
    count(*) as parked
  from state.parked_row
  group by row_group
) as p on g.row_group = p.row_group
union all
select
  row_group,
  first_row,
  row_count,
  admitted_at,
  if(is_due, 'due', 'waiting') as state,
  if(is_due, 'waiting', 'active') as came_from,
  null as parked_for,
  rows_resting as rows_parked,
  rows_finished
from state.resting_row_group
order by row_group;

drop table state.active_row_group;

drop table state.resting_row_group;
