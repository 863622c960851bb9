"""The graph of generators built from a spec, and the plan of its row groups. Values without I/O."""
