-- The table of the baseline of the benchmark `sql`: the spec's columns with their types. O(1).
create table baseline (row_id bigint not null, {columns});
