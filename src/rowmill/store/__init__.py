"""The state engine: run database, named SQL statements, the turn. The only package that imports duckdb."""
