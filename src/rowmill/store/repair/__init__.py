"""What `rowmill doctor` does: examine a run database, have back what a damaged one holds."""
