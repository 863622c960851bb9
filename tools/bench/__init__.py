"""Rowmill's benchmarks. ``tools/benchmark NAME`` runs one; each module's docstring says what was measured, and when."""
