"""How a spec lies in a run database: its tables, columns, expressions, samplers and seed rows."""
