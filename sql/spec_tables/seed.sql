/*
The seed dataset, copied into the run database when it is created: a resume needs no file but this
one. `row_index` is the order in which rows are used, fixed by the spec's seed; row_id r takes the
row at index r modulo the number of rows, so no row is used twice before all were (V1).
*/

create table state.seed_row (
  row_index bigint not null,
  {seed_columns}
);
