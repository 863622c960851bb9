"""What a monitoring system hears of a run: metrics of its run database, and spans of its requests."""
