/*
What is kept when a spec changes. Generators that a newer spec does not have keep their name here, under a negative number, for
the attempts they made and the rows they dropped. Values that model calls made for columns that were removed, or are made
again, are kept as tables "column@version" of the schema `retained` (version: of the spec they were made under), until
they are purged.
*/

create schema retained;

create table state.retired_generator (
  generator integer not null check (generator < 0),
  name varchar not null
);
