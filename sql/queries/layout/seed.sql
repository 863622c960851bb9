/*
Reading seed files and copying them into the run database. The files are read by a private in-memory connection; the
run database's own connection has no access to files.
*/

-- name: describe_seed_file
-- Names and types of the columns of a seed file, in file order. O(sample).
describe
select * from {reader};

-- name: read_seed_file
-- All rows of a seed file in file order. O(rows).
select * from {reader};

-- name: describe_seed_types
-- Types as the engine spells them, from nulls of each. O(columns).
describe
select {columns};

-- name: seed_misfit
-- First value of a staged column that is none in another type, or another one when it comes back. O(rows).
select
  position,
  value::varchar as value_text
from seed_column
where value is not null and ({converted} is null or {back} is distinct from value)
order by position
limit 1;

-- name: convert_seed_column
-- Values of a staged column in another type. O(rows).
select {converted} as value
from seed_column
order by position;

-- name: convert_seed_json
-- JSON texts of a staged column in another type, and what they are as JSON then. O(rows).
select
  {converted} as value,
  to_json({converted})::varchar as written
from seed_column
order by position;

-- name: copy_seed_rows_in_order
-- Keeps the rows in the order of the source, which is that of row_id. O(seed rows).
insert into state.seed_row
select
  n.row_id as row_index,
  n.* exclude (row_id)
from new_seed as n
order by row_index;

-- name: copy_seed_rows_shuffled
-- Keeps the rows in an order fixed by the seed: a permutation, the same on every machine (V1). O(seed rows log).
insert into state.seed_row
select
  row_number() over (order by md5_number_lower(concat_ws(':', $seed, 'seed-dataset', n.row_id)), n.row_id) - 1 as row_index,
  n.* exclude (row_id)
from new_seed as n
order by row_index;

-- name: seed_digest
-- Number and digest of the staged rows: values, order, and columns with their types; constant memory. O(seed rows).
select
  count(*) as seed_rows,
  sha256(concat_ws(':', $types, count(*), bit_xor(md5_number(to_json(struct_pack(row_id, {columns}))::varchar)))) as digest
from new_seed;

-- name: insert_seed_content
-- What the seed rows are, written down when they are copied. O(1).
insert into state.seed_content ("rows", digest)
values ($rows, $digest);

-- name: grow_seed_content
-- More seed rows were appended: those of a run that is followed. O(1).
update state.seed_content set "rows" = "rows" + $rows;

-- name: renew_seed_mark
-- Which run is followed, and by which spec it went last. O(files).
update state.seed_file set mark = $mark
where path = $path;

-- name: taken_source_rows
-- Which rows of the run that is followed are seed rows already. O(seed rows).
select distinct {column}
from state.seed_row;

-- name: insert_seed_files
-- The files the seed rows come from, from the staged table new_seed_file. O(files).
insert into state.seed_file (path, mark)
select
  path,
  mark
from new_seed_file;

-- name: delete_seed_files
-- Makes room for other marks of the same content. O(files).
delete from state.seed_file;

-- name: stored_seed_content
-- What the seed rows were when the run was made; no row if it has none. O(1).
select
  "rows",
  digest
from state.seed_content;

-- name: stored_seed_files
-- The files the seed rows were read from. O(files).
select
  path,
  mark
from state.seed_file;

-- name: count_seed_rows
-- How many seed rows there are. O(1).
select count(*) as seed_rows
from state.seed_row;
