/*
How often rows of unfinished row groups were made again because a validation column (`generator`) found them invalid. Written by the
turn that takes the values back, so what was counted happened, and no crash makes a row exceed what its column allows. The number
also tells one making of a value from the next: what is drawn for a request follows from it. Forgotten when the row
group finishes and when a person has the row tried again.
*/

create table state.regeneration (
  generator integer not null,
  row_group bigint not null,
  row_index bigint not null,
  regenerations integer not null check (regenerations > 0)
);
