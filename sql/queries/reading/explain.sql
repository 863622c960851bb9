/*
One row of a run, as far as it has come. Nothing here writes.
*/

-- name: explain_cells
-- The cells of a row that is not finished yet, and their states. O(active rows).
select
  column_name,
  state
from main.cell
where row_id = $row_id
order by column_name;

-- name: explain_drop
-- Why a row was dropped. O(dropped rows).
select
  column_name,
  reason,
  error_type,
  message,
  attempts,
  dropped_at
from main.dropped_row
where row_id = $row_id;

-- name: explain_deferrals
-- What of a row waits for another try. O(deferred).
select
  generator,
  attempts,
  error_type,
  message,
  not_before,
  explanation
from main.deferred_task
where row_id = $row_id;

-- name: explain_attempts
-- The last requests and failed calls of a row. O(attempts).
select
  generator,
  attempt,
  outcome,
  error_type,
  message,
  model,
  started_at,
  duration_ms,
  input_tokens,
  output_tokens
from main.attempt
where row_id = $row_id
order by "number" desc
limit $limit;

-- name: explain_values
-- The values of a finished row. O(slice).
select *
from main.dataset
where row_id = $row_id;
