"""What a value of the engine is elsewhere: in Python, in a prompt, in JSON, in CSV, in Arrow and parquet.

Every value that leaves the database goes through this package. The engine hands it over as Arrow whose types say all
(extension types for JSON, UUID and what Arrow has no type for), and each type is looked at once per schema, not once
per value. ``rowmill help values`` has the table.
"""
