"""The run database as bytes: its file, its log, what lies beside it, and what the engine says of it. No SQL."""
