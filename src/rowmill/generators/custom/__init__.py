"""Columns of type ``custom``: made by a Python function of the user's."""
