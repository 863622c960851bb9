-- The rows of the baseline of the benchmark `sql`. O(rows).
select unnest(range($rows)) as row_id;
