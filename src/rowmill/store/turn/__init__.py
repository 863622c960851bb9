"""The turn: one transaction that moves the run on, and its parts."""
