/*
What `rowmill diff` reads beside the statements of page.sql. It runs on read-only connections, one for each of the two
run databases.
*/

-- name: dropped_row_ids
-- The row_id of every dropped row. O(dropped rows).
select row_id
from main.dropped_row
order by row_id;
