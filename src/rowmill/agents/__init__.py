"""Doors for coding agents."""
