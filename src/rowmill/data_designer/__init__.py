"""Bringing configurations of NeMo DataDesigner over: the same columns, models and seeds as a spec."""
