/*
Earlier rows: what rows held before a change of the spec took values from them. A cell whose inputs come out as they were then has its
earlier value and is not made again. Written by the change, a row each time one takes values that can be of use; spec_version is the one
they were made under. A generator's bit in `done` says that its earlier value may be taken; in `skipped` are the bits of all that
was skipped. Only values that are compared or taken are there. The turn in which all inputs of a cell are there decides: it takes the
value or not, and clears the bit. A row without bits is forgotten. Empty in a run whose spec never changed.
*/

create table state.earlier_row (
  spec_version integer not null,
  row_group bigint not null,
  row_index bigint not null,
  row_id bigint not null,
  {set_columns},
  {value_columns}
);
