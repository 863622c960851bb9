/*
Admission: may the next row group enter, and if not, why (rules A1 to A5, A7).

The decision itself is the macro admission_refusal. The run asks it with its bounds and the calls that are free by its memory; the view
shows it with the bounds of the spec and what endpoints were found to take.

The private views take rule A4 apart, one sentence each. They look at the graph and at the deferred tasks, never at rows, so they are
small. Deferral blocks admission only if the next row group would bring no work independent of it. A task that was merely
deferred by a transient failure blocks nothing: its endpoint takes other requests meanwhile. So what counts are tasks deferred at a
resource that cools down, or of a custom function that is rate limited. Time is that of the last turn (state.run.updated_at).
*/

/* Generators of tasks, with their key: the endpoint they use (chat and embedding share it), else themselves. */
create view state.task_generator as
select
  g.generator,
  g.name,
  g.resource,
  g.resource in ('local', 'local/threads') as is_local,
  case when is_local then 'generator ' || g.name else g.resource end as key
from state.generator as g
where g.strategy in ('cell', 'batch');

/* Keys with which nothing starts for now: endpoints that cool down, local generators that were rate limited and did not succeed since. */
create view state.refusing_key as
select resource as key
from state.cooling_resource
union
select t.key
from state.refusal as r
inner join state.task_generator as t on r.resource = t.key and t.is_local;

/* Tasks whose deferral can block admission. */
create view state.blocking_deferral as
select
  d.generator,
  t.name,
  t.resource,
  t.key
from state.deferred_task as d
inner join state.task_generator as t on d.generator = t.generator
inner join state.refusing_key as k on t.key = k.key;

/* Generators that cannot do new work: they share a key with a blocking deferral, or need what such a one makes. */
create view state.blocked_generator as
with recursive blocked as (
  select t.generator
  from state.task_generator as t
  semi join state.blocking_deferral as d on t.key = d.key
  union
  select d.generator
  from state.dependency as d
  inner join blocked as b on d.upstream = b.generator
)

select generator
from blocked;

/* Generators that make something a blocked generator needs, directly or not. */
create view state.feeder_of_blocked as
with recursive feeder as (
  select d.upstream as generator
  from state.dependency as d
  inner join state.blocked_generator as b on d.generator = b.generator
  union
  select d.upstream
  from state.dependency as d
  inner join feeder as f on d.generator = f.generator
)

select generator
from feeder;

/* Generators that have useful work in a new row group whatever is deferred: a local feeder of blocked columns has not. */
create view state.independent_generator as
select
  t.generator,
  t.name,
  t.resource
from state.task_generator as t
anti join state.blocked_generator as b on t.generator = b.generator
where not t.is_local or t.generator not in (select f.generator from state.feeder_of_blocked as f);

/* Generators with tasks as soon as a row group enters: no task makes anything they need. */
create view state.root_generator as
with recursive later as (
  select d.generator
  from state.dependency as d
  inner join state.task_generator as t on d.upstream = t.generator
  union
  select d.generator
  from state.dependency as d
  inner join later as l on d.upstream = l.generator
)

select
  t.generator,
  t.name,
  t.resource
from state.task_generator as t
anti join later as l on t.generator = l.generator;

/* Would the next row group bring no work independent of deferred tasks (A4)? */
create view state.deferral_verdict as
select
  exists (from state.blocking_deferral)
  and not exists (from state.independent_generator) as blocks;

/* The facts the bounds look at: the working set, what is parked, and the next row group: a due one, else one of the plan. */
create view state.admission_fact as
with candidate as (
  select
    d.row_group as next_row_group,
    d.rows_parked as row_count
  from state.admitted_row_group as d
  where d.state = 'due'
  union all
  select
    r.next_row_group,
    state.planned_row_count(r.next_row_group, p) as row_count
  from state.run as r
  inner join state.plan_segment as p
    on r.next_row_group >= p.first_row_group and r.next_row_group < p.first_row_group + p.row_groups
  order by next_row_group
  limit 1
)

select
  w.row_groups,
  w.live_rows,
  g.parked_rows,
  g.waits,
  c.next_row_group,
  c.row_count
from (
  select
    coalesce(sum(rows_parked) filter (where state = 'parked'), 0)::bigint as parked_rows,
    coalesce(bool_or(state = 'waiting'), false) as waits
  from state.admitted_row_group
) as g
cross join state.working_set as w
left join candidate as c on true;

create view main.admission as
with bound as (
  select
    (s.spec ->> '$.run.max_active_rows')::bigint as max_active_rows,
    (s.spec ->> '$.run.max_active_row_groups')::bigint as max_active_row_groups,
    (s.spec ->> '$.run.max_parked_rows')::bigint as max_parked_rows
  from state.spec_version as s
  order by s.version desc
  limit 1
),

deferral as (
  select
    count(*) as deferred_tasks,
    string_agg(distinct d.key, ', ' order by d.key) as deferred_scope
  from state.blocking_deferral as d
),

by_column as (
  select map_from_entries(list((c.name, c.tasks) order by c.name)) as deferred_by_column
  from (select
    d.name,
    count(*) as tasks
  from state.blocking_deferral as d group by d.name) as c
),

by_resource as (
  select map_from_entries(list((c.resource, c.tasks) order by c.resource)) as deferred_by_resource
  from (select
    d.resource,
    count(*) as tasks
  from state.blocking_deferral as d group by d.resource) as c
),

named as (
  select
    (select list(t.name order by t.generator) from state.task_generator as t) as candidate_columns,
    (select list(i.name order by i.generator) from state.independent_generator as i) as independent_columns
),

demand as (
  select
    count(*) filter (where c.resource is null) as resources_open,
    count(*) filter (where c.resource is null and coalesce(f.tasks, 0) < r.learned_limit) as resources_wanting
  from (
    select g.resource
    from state.root_generator as g
    union
    select t.resource
    from state.task_generator as t
    where exists (from state.admitted_row_group as r where r.state = 'due')
  ) as g
  inner join state.resource as r on g.resource = r.resource
  left join state.cooling_resource as c on g.resource = c.resource
  left join (
    select
      f.resource,
      count(*) as tasks
    from state.frontier as f
    group by f.resource
  ) as f on g.resource = f.resource
),

decided as (
  select
    state.admission_refusal(
      a.row_count,
      a.waits,
      a.row_groups,
      a.live_rows,
      a.parked_rows,
      b.max_active_rows,
      b.max_active_row_groups,
      b.max_parked_rows,
      v.blocks,
      d.resources_wanting > 0,
      d.resources_open > 0
    ) as reason,
    a.next_row_group,
    a.row_count as next_row_count,
    a.row_groups as row_groups_active,
    b.max_active_row_groups,
    a.live_rows as rows_active,
    b.max_active_rows,
    a.parked_rows as rows_parked,
    b.max_parked_rows,
    f.deferred_tasks,
    f.deferred_scope,
    bc.deferred_by_column,
    br.deferred_by_resource,
    n.candidate_columns,
    coalesce(n.independent_columns, []) as independent_columns
  from state.admission_fact as a
  cross join bound as b
  cross join state.deferral_verdict as v
  cross join deferral as f
  cross join by_column as bc
  cross join by_resource as br
  cross join named as n
  cross join demand as d
),

cooling as (
  select
    string_agg(
      c.resource || ' takes no requests until ' || strftime(c.cooling_until, '%Y-%m-%d %H:%M:%S') || ' UTC',
      ', ' order by c.resource
    ) as what
  from state.cooling_resource as c
)

select
  d.reason is null as admit,
  coalesce(d.reason, 'the next row group may enter') as reason,
  d.* exclude (reason),
  case s.state
    when 'running' then ''
    when 'finished' then ''
    when 'paused' then 'The run is paused: ''rowmill resume'' lets it go on. '
    else if(
      exists (select 1 from state.pause),
      'Nothing works on this run now, and it is paused: ''rowmill run --resume'' goes on. ',
      'Nothing works on this run now: ''rowmill run'' goes on. '
    )
  end || case coalesce(d.reason, '')
    when ''
      then format('Row group {:,} ({:,} rows) may enter: there is room for it.', d.next_row_group, d.next_row_count)
    when 'no group left'
      then if(
        s.state = 'finished',
        'The run is complete: every row group is finished.',
        format(
          'Every row group of the plan has entered; {:,} of them {} being finished.',
          d.row_groups_active,
          if(d.row_groups_active = 1, 'is', 'are')
        )
      )
    when 'row groups wait for a barrier'
      then
        'Every row group of the plan has entered; those whose rows are as far as they can be wait for the others, for a column '
        || 'that looks at all rows.'
    else format('Row group {:,} ({:,} rows) waits: ', d.next_row_group, d.next_row_count) || case d.reason
      when 'max rows'
        then format(
          '{:,} rows are being worked on, and no more than {:,} may be (run.max_active_rows).', d.rows_active, d.max_active_rows
        )
      when 'max groups'
        then format(
          '{:,} row groups are being worked on, as many as may be (run.max_active_row_groups).', d.row_groups_active
        )
      when 'max parked rows'
        then format(
          '{:,} rows wait for an endpoint that rests, as many as may (run.max_parked_rows).', d.rows_parked
        )
      when 'deferred tasks'
        then format(
          'it would only add to the {:,} tasks that wait: {}.', d.deferred_tasks, coalesce(c.what, d.deferred_scope)
        )
      when 'enough ready work already' then 'there is as much ready work as every open endpoint can take.'
      else 'all it could start with rests: ' || coalesce(c.what, 'no endpoint is open') || '.'
    end
  end as explanation
from decided as d
cross join state.seen_state as s
cross join cooling as c;
