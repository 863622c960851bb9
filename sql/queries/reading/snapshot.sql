/*
Looking at a run while its process works: each reader has a connection of its own beside the writer's, a snapshot of the
same database. What only the living process knows comes in as variables of that connection, which the
public views read; in the file alone they are not set.
*/

-- name: mark_in_flight_calls
-- Calls that run now, per resource, for the view resource. O(resources).
set variable rowmill_in_flight = map($resources::varchar[], $calls::bigint[]);

-- name: begin_snapshot
-- Everything read until the end of the transaction is of one moment, and nothing can be written. O(1).
begin transaction read only; -- noqa: PRS

-- name: end_snapshot
-- Lets the old versions go. O(1).
rollback;

-- name: parse_query
-- The parse tree of a query, as JSON. O(length).
select json_serialize_sql($query) as tree;

-- name: memory_of_queries
-- Bytes that running queries hold, in memory and spilled to disk: all but the database's own pages. O(1).
select
  coalesce(sum(memory_usage_bytes), 0)::bigint as memory_bytes,
  coalesce(sum(temporary_storage_bytes), 0)::bigint as spilled_bytes
from duckdb_memory()
where tag not in ('BASE_TABLE', 'METADATA', 'IN_MEMORY_TABLE', 'TRANSACTION', 'EXTENSION', 'OBJECT_CACHE', 'ART_INDEX');

-- name: memory_limit
-- Bytes the engine may use in all. O(1).
select parse_formatted_bytes(current_setting('memory_limit'))::bigint as memory_bytes;
