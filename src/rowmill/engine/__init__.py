"""Putting the parts together: a spec becomes a graph, a graph becomes a run, a run works until it is done."""
