/*
Branches of the view column_statistics, of some hundred columns each: binding all aggregates of a very wide dataset in one SELECT takes time
that grows with their square.
*/

-- name: measured_columns
-- What is measured of some columns of the dataset; {measures}: a macro of views/07_statistics.sql for each. O(rows).
select
  unnest([
    {measures}
  ], recursive := true)
from state.dataset_row;

-- name: median_columns
-- Medians of some columns of the dataset, of about a million rows; {measures} as above. O(rows).
select
  unnest([
    {measures}
  ], recursive := true)
from state.dataset_row
where (row_id // 2048) % (select stride from state.dataset_stride) = 0;
