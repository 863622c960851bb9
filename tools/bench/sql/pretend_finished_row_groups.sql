-- Row groups of one row that no run had the time to finish, for the benchmark `plan`. O(row groups).
insert into state.finished_row_group (
  row_group, first_row, row_count, rows_finished, rows_dropped, admitted_at, finished_at
)
select
  row_group,
  row_group as first_row,
  1 as row_count,
  1 as rows_finished,
  0 as rows_dropped,
  $now as admitted_at,
  $now as finished_at
from (select unnest(range($row_groups)) as row_group) as g;
