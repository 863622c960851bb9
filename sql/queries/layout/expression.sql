/*
Looking at users' SQL without running it, in a hardened in-memory connection.
*/

-- name: parse_expression
-- The syntax tree of `select <expression>` as JSON, or the parser's error. O(text).
select json_serialize_sql('select ' || $text || chr(10)) as tree;

-- name: types_of_columns
-- No rows: how the engine hands over the types of some columns. O(columns).
select *
from (select {typed_nulls}) as empty_row
limit 0;

-- name: evaluate_constant
-- Evaluates an expression without columns, to learn whether a value fits a type. O(text).
select {expression} as result;

-- name: kinds_of_functions
-- Kinds of all functions: scalar, aggregate, table, macro. O(functions).
select
  lower(function_name) as function_name,
  list(distinct function_type) as function_types
from duckdb_functions()
group by lower(function_name);

-- name: bind_expression
-- Binds an expression over no rows, to learn whether names and types fit. O(text).
select {expression} as result
from (select {typed_nulls}) as empty_row
limit 0;
