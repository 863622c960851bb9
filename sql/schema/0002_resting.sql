/*
Row groups that come back. A row group that was admitted need not be active, parked or finished: it can rest. Its rows then
lie in state.parked_row, outside the frontier, with the done sets they have. A resting row group that is due has
work to do and comes back through admission, lowest first, before new row groups: its spec changed, some of its rows are to be made again,
or some were revived. One that is not due waits for a barrier. rows_finished counts its rows that stayed in the
dataset, rows_resting its rows in state.parked_row.
*/

create table state.resting_row_group (
  row_group bigint not null,
  first_row bigint not null,
  row_count bigint not null,
  admitted_at timestamp not null,
  rows_finished bigint not null,
  rows_resting bigint not null check (rows_resting > 0),
  is_due boolean not null,
  check (rows_finished + rows_resting <= row_count)
);
