"""Looking at a run database: status, listings, SQL, snapshots beside the writer."""
