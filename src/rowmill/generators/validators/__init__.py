"""What a validation column can ask of values: one module for each kind of validator."""
