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

-- name: copy_seed_rows_in_order
-- Keeps the selected rows in file order; row_id of new_seed is the place in the file. O(seed rows).
insert into state.seed_row
select
  row_number() over (order by n.row_id) - 1 as row_index,
  n.* exclude (row_id)
from new_seed as n
where n.row_id >= $first and n.row_id <= $last
order by row_index;

-- name: copy_seed_rows_shuffled
-- Keeps the selected rows in an order fixed by the seed: a permutation, the same on every machine (V1). O(seed rows log).
insert into state.seed_row
select
  row_number() over (order by md5_number_lower(concat_ws(':', $seed, 'seed-dataset', n.row_id)), n.row_id) - 1 as row_index,
  n.* exclude (row_id)
from new_seed as n
where n.row_id >= $first and n.row_id <= $last
order by row_index;

-- name: count_seed_rows
-- How many seed rows there are. O(1).
select count(*) as seed_rows
from state.seed_row;
