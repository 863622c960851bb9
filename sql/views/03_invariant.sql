/*
What must never be true, as a view that is always empty. The run checks it when it finds itself stuck
(F9), the tests after every step, and people whenever they like.
*/

/* Every row that was admitted, wherever it is. */
create view state.row_of_any_kind as
select
  row_id,
  'active' as kind
from state.live_row
union all
select
  row_id,
  'dataset' as kind
from state.dataset_row
union all
select
  row_id,
  'dropped' as kind
from state.dropped_row;

/* Blocks of 64 row_ids with more rows than different ones. Only there need rows be counted one by one, which takes room for each. */
create view state.crowded_block as
select row_id >> 6 as block
from state.row_of_any_kind
group by block
having count(*) <> bit_count(bit_or(1::ubigint << (row_id & 63)));

create view main.invariant_violation as
select
  'plan: no gap between segments' as "rule",
  p.segment::varchar as subject,
  'starts at row group ' || p.first_row_group || ', row ' || p.first_row as detail
from (
  select
    *,
    coalesce(
      lag(first_row_group + row_groups) over (order by segment), if(exists (from state.shard), first_row_group, 0)
    ) as next_row_group,
    coalesce(
      lag(first_row + "rows") over (order by segment), (select s.first_row from state.shard as s), 0
    ) as next_row
  from state.plan_segment
) as p
where
  p.first_row_group <> p.next_row_group
  or p.first_row <> p.next_row
  or p.row_groups <> (p."rows" + p.row_group_size - 1) // p.row_group_size
union all
select
  'R1: admitted row group beyond the cursor',
  g.row_group::varchar,
  g.state || ', next_row_group is ' || r.next_row_group
from state.admitted_row_group as g
cross join state.run as r
where g.row_group >= r.next_row_group
union all
select
  'R1: row outside an active row group',
  a.row_id::varchar,
  'row group ' || a.row_group
from state.active_row as a
anti join state.admitted_row_group as g on a.row_group = g.row_group and g.state = 'active'
union all
select
  'A7: parked row outside a parked, waiting or due row group',
  a.row_id::varchar,
  'row group ' || a.row_group
from state.parked_row as a
anti join state.admitted_row_group as g on a.row_group = g.row_group and g.state <> 'active'
union all
select
  'A7: parked rows of a row group do not add up',
  g.row_group::varchar,
  g.state || ', ' || g.rows_parked || ' recorded as parked, ' || count(p.row_id) || ' there'
from state.admitted_row_group as g
left join state.parked_row as p on g.row_group = p.row_group
where g.state <> 'active'
group by
  g.row_group,
  g.state,
  g.rows_parked
having count(p.row_id) <> g.rows_parked
union all
select
  'K2: row group in two states',
  row_group::varchar,
  string_agg(kind, ', ' order by kind)
from (
  select
    row_group,
    state as kind
  from state.admitted_row_group
  union all
  select
    row_group,
    'finished' as kind
  from state.finished_row_group
)
group by row_group
having count(*) > 1
union all
select
  'K2: admitted row groups do not add up',
  'run',
  'next_row_group is '
  || r.next_row_group
  || ', '
  || (select count(*) from state.admitted_row_group)
  || ' admitted and '
  || (select count(*) from state.finished_row_group)
  || ' finished'
from state.run as r
where
  r.next_row_group - (select coalesce(min(p.first_row_group), 0) from state.plan_segment as p)
  <> (select count(*) from state.admitted_row_group)
  + (select count(*) from state.finished_row_group)
union all
select
  'K2: rows of a finished row group do not add up',
  f.row_group::varchar,
  f.rows_finished || ' recorded as finished, ' || count(d.row_id) || ' in the dataset'
from state.finished_row_group as f
left join state.dataset_row as d on f.row_group = d.row_group
group by
  f.row_group,
  f.rows_finished
having count(d.row_id) <> f.rows_finished
union all
select
  'K4: dataset row of a row group that is not finished',
  d.row_id::varchar,
  'row group ' || d.row_group
from state.dataset_row as d
anti join state.finished_row_group as f on d.row_group = f.row_group
anti join state.admitted_row_group as g on d.row_group = g.row_group and g.rows_finished > 0
union all
select
  'row is there twice',
  r.row_id::varchar,
  string_agg(r.kind, ', ' order by r.kind)
from state.row_of_any_kind as r
semi join state.crowded_block as b on r.row_id >> 6 = b.block
group by r.row_id
having count(*) > 1
union all
select
  'row of an unfinished row group is missing',
  g.row_group::varchar,
  g.row_count || ' rows, ' || g.row_count - g.rows_dropped || ' live, ' || count(d.row_id) || ' dropped'
from main.row_group as g
left join state.dropped_row as d on g.row_group = d.row_group
where g.state <> 'finished'
group by
  g.row_group,
  g.row_count,
  g.rows_dropped
having g.rows_dropped <> count(d.row_id)
union all
select
  'row_id does not follow the plan',
  a.row_id::varchar,
  'row group ' || a.row_group || ', index ' || a.row_index
from state.live_row as a
inner join main.row_group as g on a.row_group = g.row_group
where a.row_id <> g.first_row + a.row_index or a.row_index < 0 or a.row_index >= g.row_count
union all
select
  'R3: done before its inputs',
  g.name,
  'done set ' || {done_text}
from state.done_set as d
inner join state.generator as g on d.generator = g.generator
where d.is_done and not d.has_inputs
union all
select
  'S3: skipped but not done',
  row_id::varchar,
  'row group ' || row_group
from state.live_row
where not {skipped_is_done}
union all
select
  'deferred task of a row that does not wait for it',
  f.generator || '/' || f.row_group || '/' || f.row_index,
  f.error_type
from state.deferred_task as f
inner join state.admitted_row_group as g on f.row_group = g.row_group and g.state = 'active'
anti join state.frontier as r
  on f.generator = r.generator and f.row_group = r.row_group and f.row_index = r.row_index
union all
select
  'deferred task of a row group that is not active',
  f.generator || '/' || f.row_group || '/' || f.row_index,
  f.error_type
from state.deferred_task as f
anti join state.admitted_row_group as g on f.row_group = g.row_group and g.state in ('active', 'parked')
where f.row_group >= 0
union all
select
  'R6: deferred task of a barrier that cannot run',
  f.generator::varchar,
  f.error_type
from state.deferred_task as f
where f.row_group < 0 and f.generator not in (select b.generator from state.ready_barrier as b)
union all
select
  'R6: closed barrier that has not seen every row',
  generator::varchar,
  'a row is not admitted, or lives without having passed it'
from state.stale_barrier
union all
select
  'R6: row group waits and has work to do, or is due and has none',
  r.row_group::varchar,
  r.state
from state.admitted_row_group as r
inner join state.held_row_group as d on r.row_group = d.row_group
where (r.state = 'due') <> d.is_due
union all
select
  'R6: barrier recorded more than once, or for another generator',
  b.generator::varchar,
  count(*) || ' times'
from state.barrier as b
left join state.generator as g on b.generator = g.generator and g.strategy = 'dataset'
group by b.generator
having count(*) > 1 or count(g.generator) = 0
union all
select
  'R8: task deferred twice',
  generator || '/' || row_group || '/' || row_index,
  count(*) || ' times'
from state.deferred_task
group by
  generator,
  row_group,
  row_index
having count(*) > 1
union all
select
  'regenerations of a row counted twice, or of a row group that is finished',
  r.generator || '/' || r.row_group || '/' || r.row_index,
  count(*) || ' times'
from state.regeneration as r
left join state.finished_row_group as f on r.row_group = f.row_group
group by
  r.generator,
  r.row_group,
  r.row_index
having count(*) > 1 or count(f.row_group) > 0
union all
select
  'V8: earlier value of a cell that is made',
  e.row_id::varchar,
  'row group ' || e.row_group || ', from spec version ' || e.spec_version
from state.earlier_row as e
inner join (
  select
    row_id,
    {set_columns}
  from state.live_row
  union all
  select
    row_id,
    {set_columns}
  from state.dataset_row
) as r on e.row_id = r.row_id
where {is_made_of_e}
union all
select
  'D4: sums of usage that are not those of the attempts',
  null,
  s.attempts || ' attempts summed up, ' || a.attempts || ' there'
from (
  select
    coalesce(sum(attempts), 0)::bigint as attempts,
    least(coalesce(sum(input_tokens), 0), 9223372036854775807)::bigint as input_tokens,
    least(coalesce(sum(output_tokens), 0), 9223372036854775807)::bigint as output_tokens
  from state.usage_sum
) as s
cross join (
  select
    count(*) as attempts,
    least(coalesce(sum(input_tokens), 0), 9223372036854775807)::bigint as input_tokens,
    least(coalesce(sum(output_tokens), 0), 9223372036854775807)::bigint as output_tokens
  from state.attempt
) as a
where s.attempts <> a.attempts or s.input_tokens <> a.input_tokens or s.output_tokens <> a.output_tokens;
