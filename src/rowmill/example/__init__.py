"""The example that ``rowmill init`` writes and ``tools/quickstart`` runs."""
