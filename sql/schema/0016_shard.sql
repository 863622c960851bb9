/*
A shard: some consecutive row groups of a whole run, made in a run database of their own under the numbers and the row_ids they have
in the whole. One row in the database of a shard, none in that of a whole run. Written when the database is made, never changed; number
is null for a shard that was asked for by its rows. end_row is the first row after it, records is how many rows the whole has.
*/

create table state.shard (
  number integer,
  shards integer,
  first_row bigint not null,
  end_row bigint not null,
  records bigint not null,
  check ((number is null) = (shards is null)),
  check (0 <= first_row and first_row <= end_row and end_row <= records)
);
