"""Column types, one module each: configuration, declaration for the graph, and the work itself."""
