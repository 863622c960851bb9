/*
The tables whose columns come from the spec, created once with the run database.

A generated column keeps its real type. `done_N` holds 64 bits each: bit g of the set says that
generator g is done for this row; `skipped_N` is the subset of those that were skipped. A value
counts only if its generator's bit is set. This file is released, as schema version 1: later changes are
migrations in schema/, which are filled with the same slots. Slots: {value_columns} "name" type, …;
{set_columns} done_0 ubigint, …, skipped_0 ubigint, …; {mask_columns} own_0 ubigint, …, upstream_0 ubigint, ….
*/

/* The nodes of the graph. own_N: the generator's bit; upstream_N: the bits of all it needs, direct ones. */
create table state.generator (
  generator integer not null,
  name varchar not null,
  column_type varchar not null,
  strategy varchar not null check (strategy in ('cell', 'batch', 'dataset', 'sql')),
  reason varchar not null,
  resource varchar,
  weight double not null check (weight > 0),
  is_ordered boolean not null,
  fingerprint varchar not null,
  {mask_columns},
  check ((strategy = 'sql') = (resource is null))
);

/* One row per live row of an active row group: the working set. Inserted by admission, changed by the turn. */
create table state.active_row (
  row_group bigint not null,
  row_index bigint not null,
  row_id bigint not null,
  {set_columns},
  {value_columns}
);

/* The rows of parked row groups (A7), the same shape: bounded by disk, not by memory. */
create table state.parked_row (
  row_group bigint not null,
  row_index bigint not null,
  row_id bigint not null,
  {set_columns},
  {value_columns}
);

/* The values a dropped row had when it was given up: nothing that was paid for is thrown away. */
create table state.dropped_row_value (
  row_group bigint not null,
  row_index bigint not null,
  row_id bigint not null,
  {set_columns},
  {value_columns}
);

/* The finished rows. The public view `dataset` shows the spec's columns of it. */
create table state.dataset_row (
  row_group bigint not null,
  row_index bigint not null,
  row_id bigint not null,
  {set_columns},
  {value_columns}
);
