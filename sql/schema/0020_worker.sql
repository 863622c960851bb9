/*
Workers elsewhere: processes beside a run, or actors of a cluster. worker has a row for each that was started, of the latest ones;
worker_group the groups of the latest invocation that had any. Both are written when one joins or is lost, and every two seconds
while something changes; nothing is decided by them.
*/

create table state.worker (
  invocation integer not null,
  name varchar not null,
  worker_group varchar not null,
  kind varchar not null,
  state varchar not null check (state in ('starting', 'ready', 'quiet', 'lost')),
  pid integer,
  host varchar not null,
  node varchar not null,
  joined_at timestamp,
  heard_at timestamp,
  ended_at timestamp check (state <> 'lost' or ended_at is not null),
  in_flight bigint not null,
  done bigint not null,
  calls_lost bigint not null,
  reason varchar not null
);

create table state.worker_group (
  invocation integer not null,
  worker_group varchar not null,
  kind varchar not null,
  workers bigint not null,
  empty_since timestamp,
  waits_until timestamp
);
