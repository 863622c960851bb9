"""Columns of type ``sampler``: random values, functions of (run seed, column, row_id) alone (V1)."""
