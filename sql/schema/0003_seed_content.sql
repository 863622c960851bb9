/*
What the seed rows of a run were when they were copied, so that a change of their source is noticed.
Both tables are empty for a run without seed data, and for one that was made before they existed.
*/

/* Number and digest of the rows as they were copied; one row. */
create table state.seed_content (
  "rows" bigint not null,
  digest varchar not null
);

/* The files they were read from. mark is cheap to know of a file and differs when its content does. */
create table state.seed_file (
  path varchar not null,
  mark varchar not null
);
