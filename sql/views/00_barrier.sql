/*
Barriers (R6): which are open, what rows need meanwhile, and which one can run. Private views in `state`.

A barrier is open until it ran over the rows that are there. A row needs every generator but the open barriers and what comes
after them; a row group whose live rows have all they need waits. Barriers run one at a time, in topological order (the order of their
numbers), so the first open one has all it needs as soon as every admitted row group waits.
Slots: {barrier_tasks} holds for barriers that are called, not evaluated in the database; {needed_columns} needed_0, …: the bits
of all generators that are needed; {needed_done} and {is_done_of_d} compare done sets with them and with own_0, ….
*/

/* Barriers that have not run over all rows that are there. */
create view state.open_barrier as
select g.generator
from state.generator as g
where g.strategy = 'dataset' and g.generator not in (select b.generator from state.barrier as b where not b.is_open);

/* Generators a row cannot have before the open barriers ran: these and all that come after them. */
create view state.held_generator as
with recursive held as (
  select o.generator
  from state.open_barrier as o
  union
  select d.generator
  from state.dependency as d
  inner join held as h on d.upstream = h.generator
)

select generator
from held;

/* Row groups that wait or are due, and which of it they should: something they need is missing, or no barrier holds them back. */
create view state.held_row_group as
select
  r.row_group,
  not exists (from state.open_barrier) or coalesce(bool_or(not ({needed_done})), false) as is_due
from state.admitted_row_group as r
left join state.parked_row as a on r.row_group = a.row_group
cross join (
  select {needed_columns}
  from state.generator as g
  where g.generator not in (select h.generator from state.held_generator as h)
) as n
where r.state in ('waiting', 'due')
group by r.row_group;

/* The barrier that can run now: the first open one, when no row group has work to do before it, and there is a row at all.
Never in a shard, which lacks rows. */
create view state.ready_barrier as
select o.generator
from (select min(generator) as generator from state.open_barrier) as o
cross join state.run as r
where
  o.generator is not null
  and r.next_row_group >= (select coalesce(max(p.first_row_group + p.row_groups), 0) from state.plan_segment as p)
  and not exists (from state.shard)
  and not exists (from state.admitted_row_group as g where g.state <> 'waiting')
  and (exists (from state.admitted_row_group) or exists (from state.dataset_row));

/* Closed barriers that have not seen all rows: some are not admitted yet, or live without having passed. */
create view state.stale_barrier as
select b.generator
from state.barrier as b
inner join state.generator as g on b.generator = g.generator
where
  not b.is_open
  and (
    (select r.next_row_group from state.run as r)
    < (select coalesce(max(p.first_row_group + p.row_groups), 0) from state.plan_segment as p)
    or exists (
      select 1
      from (
        select distinct {set_columns}
        from (
          select {set_columns}
          from state.active_row
          union all
          select {set_columns}
          from state.parked_row
        )
      ) as d
      where not {is_done}
    )
  );

/* The task of a barrier that is called: it has no row group and no row. */
create view state.ready_dataset as
select
  g.generator,
  g.resource,
  -1 as row_group,
  -1 as row_index,
  null::bigint as row_id
from state.ready_barrier as b
inner join state.generator as g on b.generator = g.generator
where {barrier_tasks};
