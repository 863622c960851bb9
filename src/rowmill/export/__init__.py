"""Files made from the view ``dataset``: parquet, arrow, jsonl and csv, streamed and all or nothing."""
