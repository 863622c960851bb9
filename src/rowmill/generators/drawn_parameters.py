"""The name by which sampler plug-ins know :mod:`rowmill.generators.samplers.drawn_parameters`; it stays."""

from rowmill.generators.samplers.drawn_parameters import DrawnParameters, ParametersProblem, RowSampler

__all__ = ["DrawnParameters", "ParametersProblem", "RowSampler"]
