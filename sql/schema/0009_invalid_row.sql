/*
Rows can be dropped as invalid: a validation column judged them, and its spec says not to keep those. A condition cannot be changed, so
the table is made anew; nothing but its condition differs.
*/

alter table state.dropped_row rename to dropped_row_before;

create table state.dropped_row (
  row_id bigint not null,
  row_group bigint not null,
  row_index bigint not null,
  generator integer not null,
  reason varchar not null check (
    reason in ('rejected', 'retries_exhausted', 'filtered', 'given_up', 'duplicate', 'by_hand', 'invalid')
  ),
  error_type varchar,
  message varchar,
  attempts integer not null,
  dropped_at timestamp not null
);

insert into state.dropped_row
select *
from state.dropped_row_before;

drop table state.dropped_row_before;
