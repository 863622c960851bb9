-- Their rows. O(row groups).
insert into state.dataset_row by name
select
  row_id as row_group,
  0 as row_index,
  row_id,
  1::ubigint as done_0,
  0::ubigint as skipped_0,
  1 as made
from (select unnest(range($row_groups)) as row_id) as r;
