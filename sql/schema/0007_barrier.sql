/*
Barriers: generators of strategy `dataset`, which run once over all rows (R6). A barrier is open until it ran over the rows that
are there: as long as it has no line here, and again when rows came since that it has not seen. rows_in counts the rows its last run
looked at, rows_out those it let pass.
*/

create table state.barrier (
  generator integer not null,
  is_open boolean not null,
  completed_at timestamp not null,
  rows_in bigint not null,
  rows_out bigint not null,
  check (rows_out <= rows_in)
);

/* The reasons for dropping a row grow by `duplicate`. A CHECK cannot be changed, so the table is made anew. */
alter table state.dropped_row rename to dropped_row_before;

create table state.dropped_row (
  row_id bigint not null,
  row_group bigint not null,
  row_index bigint not null,
  generator integer not null,
  reason varchar not null check (reason in ('rejected', 'retries_exhausted', 'filtered', 'given_up', 'duplicate')),
  error_type varchar,
  message varchar,
  attempts integer not null,
  dropped_at timestamp not null
);

insert into state.dropped_row
select *
from state.dropped_row_before;

drop table state.dropped_row_before;
