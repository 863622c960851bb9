/*
Admission: may the next row group enter, and if not, why (rules A1, A2, A5). The bounds are run settings
and come from the newest spec.
*/

create view main.admission as
with bound as (
  select
    coalesce((s.spec ->> '$.run.max_active_rows')::bigint, 8192) as max_active_rows,
    coalesce((s.spec ->> '$.run.max_active_row_groups')::bigint, 64) as max_active_row_groups
  from state.spec_version as s
  order by s.version desc
  limit 1
),

active as (
  select
    (select count(*) from state.active_row_group) as row_groups,
    (select count(*) from state.active_row) as live_rows
),

candidate as (
  select
    r.next_row_group,
    least(
      p.row_group_size,
      p.first_row + p."rows" - (p.first_row + (r.next_row_group - p.first_row_group) * p.row_group_size)
    ) as row_count
  from state.run as r
  inner join state.plan_segment as p
    on r.next_row_group >= p.first_row_group and r.next_row_group < p.first_row_group + p.row_groups
),

decided as (
  select
    case
      when c.next_row_group is null then 'no group left'
      when a.row_groups = 0 then null
      when a.live_rows + c.row_count > b.max_active_rows then 'max rows'
      when a.row_groups >= b.max_active_row_groups then 'max groups'
    end as reason,
    c.next_row_group,
    c.row_count as next_row_count,
    a.row_groups as row_groups_active,
    a.live_rows as rows_active,
    b.max_active_row_groups,
    b.max_active_rows
  from active as a
  cross join bound as b
  left join candidate as c on true
)

select
  reason is null as admit,
  coalesce(reason, 'the next group may enter') as reason,
  next_row_group,
  next_row_count,
  row_groups_active,
  max_active_row_groups,
  rows_active,
  max_active_rows
from decided;
