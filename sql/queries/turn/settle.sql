/*
Set-wise work inside the turn: generators of strategy `sql` (R7) and skips (S1, S2). Each statement handles one
generator, in topological order, for the rows whose inputs are there.
*/

-- name: settle_expression
-- Evaluates an SQL generator where its inputs are there. A row for which it fails keeps its bit clear. O(active rows).
update state.active_row
set {column} = try({expression}), {set_done}
where {upstream_done} and {not_done} and try(struct_pack(v := {expression})) is not null;

-- name: settle_verdict
-- The same for an SQL verdict; returns what was judged just now. O(active rows).
update state.active_row
set {column} = try({expression}), {set_done}
where {upstream_done} and {not_done} and try(struct_pack(v := {expression})) is not null
returning row_group, row_index, {column}.is_valid, {column}.error_messages, list_value({judged});

-- name: settle_seed_column
-- Reads a column of the seed dataset again into rows that came back without it; row_id r takes seed row r modulo its size. O(active rows).
update state.active_row as a
set {column} = s.{seed_column}, {set_done}
from state.seed_row as s
where a.row_id % $seed_rows = s.row_index and {not_done};

-- name: unsettled_rows
-- Rows whose inputs are there but whose SQL generator or skip predicate failed. O(active rows).
select
  row_group,
  row_index,
  row_id
from state.active_row
where {upstream_done} and {not_done}
order by row_id;

-- name: values_of_row
-- The values of one row, to learn elsewhere why an expression fails for it: an error here would abort the turn. O(active rows).
select *
from state.active_row
where row_id = $row_id;

-- name: evaluate_for_row
-- Evaluates an expression outside TRY for the row staged as failing_row; runs in a private in-memory database. O(1).
select {expression} as result
from failing_row;

-- name: value_and_type_for_row
-- The text and the type of what an expression gives for that row, before it is cast to its column's type. O(1).
select
  cast({expression} as varchar) as value,
  typeof({expression}) as sql_type
from failing_row;

-- name: settle_propagated_skip
-- Skips cells of which something required was skipped (S2). O(active rows).
update state.active_row
set {assignments}, {set_done}, {set_skipped}
where {upstream_done} and {not_done} and ({upstream_skipped});

-- name: settle_predicate_skip
-- Skips cells whose SQL skip.when is true (S1). O(active rows).
update state.active_row
set {assignments}, {set_done}, {set_skipped}
where {upstream_done} and {not_done} and coalesce(try(cast(({predicate}) as boolean)), false);

-- name: settle_predicate_or_error_skip
-- Skips cells whose SQL skip.when is true or cannot be evaluated (S4, on_error: skip). O(active rows).
update state.active_row
set {assignments}, {set_done}, {set_skipped}
where
  {upstream_done}
  and {not_done}
  and (
    coalesce(try(cast(({predicate}) as boolean)), false)
    or try(struct_pack(v := cast(({predicate}) as boolean))) is null
  );

-- name: failed_predicates
-- Rows for which an SQL skip.when cannot be evaluated (S4). O(active rows).
select
  row_group,
  row_index,
  row_id
from state.active_row
where {upstream_done} and {not_done} and try(struct_pack(v := cast(({predicate}) as boolean))) is null
order by row_id;

-- name: invalid_rows
-- Rows whose verdict says that they are not valid, with what is wrong; the turn drops them. O(active rows).
select
  row_group,
  row_index,
  {expression} as message,
  list_value({judged}) as judged
from state.active_row
where {all_done} and {predicate}
order by row_id;
