"""A connection to DuckDB, hardened: named statements, values and questions on their way into SQL."""
