/*
How long results waited from their arrival to their commit (D2), counted for each invocation: how many waited at most upper_ms, and
more than the bound before; null: more than the greatest bound. Written by the second, and when an invocation signs out:
of a killed one the last second is missing.
*/

create table state.commit_lag (
  invocation integer not null,
  upper_ms integer,
  results bigint not null,
  lag_s double not null
);
