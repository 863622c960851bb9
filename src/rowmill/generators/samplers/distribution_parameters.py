"""Parameters of the samplers ``scipy`` and ``bernoulli_mixture``: distributions of SciPy (extra ``scipy``).

Values are made by inversion (Devroye, Non-Uniform Random Variate Generation, 1986, II.2): the distribution's
quantile function at a uniform number. They are fixed for a version of SciPy; rounding to 14 digits hides the last bits,
in which machines differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from rowmill.generators.samplers.drawn_parameters import (
    DrawnParameters,
    ParametersProblem,
    RowSampler,
    open_unit,
    second_unit,
)
from rowmill.generators.samplers.parameters import DecimalPlaces, Number, Probability
from rowmill.spec.nearest import did_you_mean

_MISSING = "Distributions of SciPy need SciPy, which is not installed: pip install 'rowmill[scipy]'."

Parameter = Number | Annotated[list[Number], Field(min_length=1)]


class ScipyParameters(DrawnParameters):
    """Numbers of a distribution of ``scipy.stats``."""

    converts_to: ClassVar[frozenset[str]] = frozenset({"float", "int", "str"})

    dist_name: Annotated[str, Field(min_length=1)]
    """Any distribution of one variable of [scipy.stats](https://docs.scipy.org/doc/scipy/reference/stats.html)."""
    dist_params: dict[str, Parameter] = Field(default_factory=dict)
    """As SciPy names them: shapes, ``loc``, ``scale``."""
    decimal_places: DecimalPlaces | None = None
    """Digits after the point. Default: not rounded."""

    def sampler(self, directory: Path | None) -> RowSampler:
        return _Quantiles(_distribution(self.dist_name, self.dist_params), self.decimal_places)

    def sql_type(self) -> str:
        return _type_of(self.dist_name, self.dist_params)

    def extent(self) -> tuple[float, float] | None:
        return _extent_of(self.dist_name, self.dist_params, self.decimal_places)


class BernoulliMixtureParameters(DrawnParameters):
    """With probability ``p`` a number of a distribution of ``scipy.stats``, otherwise 0."""

    converts_to: ClassVar[frozenset[str]] = frozenset({"float", "int", "str"})

    p: Probability
    """How often it is a value of the distribution and not 0."""
    dist_name: Annotated[str, Field(min_length=1)]
    """As of ``scipy``."""
    dist_params: dict[str, Parameter] = Field(default_factory=dict)
    """As of ``scipy``."""

    def sampler(self, directory: Path | None) -> RowSampler:
        return _Mixture(_Quantiles(_distribution(self.dist_name, self.dist_params), None), self.p)

    def sql_type(self) -> str:
        return _type_of(self.dist_name, self.dist_params)

    def extent(self) -> tuple[float, float] | None:
        extent = _extent_of(self.dist_name, self.dist_params, None)
        return None if extent is None else (min(extent[0], 0.0), max(extent[1], 0.0))


class _Quantiles:
    """The quantile function of a distribution at the numbers' uniform parts."""

    def __init__(self, distribution: Any, decimal_places: int | None) -> None:
        self._distribution = distribution
        self._is_discrete = _is_discrete(distribution)
        self._decimal_places = decimal_places

    def draw(self, numbers: Sequence[int]) -> list[Any]:
        found = self._distribution.ppf([open_unit(number) for number in numbers]).tolist()
        if self._is_discrete:
            return [int(value) if math.isfinite(value) else value for value in found]
        if self._decimal_places is None:
            return [float(f"{value:.14g}") for value in found]
        return [round(float(f"{value:.14g}"), self._decimal_places) for value in found]


class _Mixture:
    """Zero, or what another sampler makes of the same number; the coin is independent of it."""

    def __init__(self, sampler: _Quantiles, p: float) -> None:
        self._sampler = sampler
        self._p = p

    def draw(self, numbers: Sequence[int]) -> list[Any]:
        chosen = iter(self._sampler.draw([number for number in numbers if second_unit(number) < self._p]))
        return [next(chosen) if second_unit(number) < self._p else 0 for number in numbers]


def _is_discrete(distribution: Any) -> bool:
    return hasattr(distribution, "pmf")


def _type_of(name: str, parameters: dict[str, Any]) -> str:
    try:
        return "BIGINT" if _is_discrete(_distribution(name, parameters)) else "DOUBLE"
    except ParametersProblem:  # reported when the column is declared
        return "DOUBLE"


def _extent_of(name: str, parameters: dict[str, Any], decimal_places: int | None) -> tuple[float, float] | None:
    try:
        low, high = _distribution(name, parameters).support()
    except ParametersProblem:  # reported when the column is declared
        return None
    slack = 0.0 if decimal_places is None else 0.5 * 10.0**-decimal_places
    return (float(low) - slack, float(high) + slack)


def _distribution(name: str, parameters: dict[str, Any]) -> Any:
    """The distribution with these parameters. Raises ParametersProblem."""
    try:
        stats = import_module("scipy.stats")
    except ImportError as error:
        raise ParametersProblem(_MISSING) from error
    kinds = (stats.rv_continuous, stats.rv_discrete)
    found = getattr(stats, name, None)
    if not isinstance(found, kinds):
        names = [each for each in stats.__all__ if isinstance(getattr(stats, each), kinds)]
        what = "has no distribution of one variable named" if found is None else "cannot be sampled by quantiles:"
        hint = did_you_mean(name, names) or " For example: norm, gamma, beta, lognorm, expon, poisson."
        raise ParametersProblem(f"scipy.stats {what} '{name[:60]}'.{hint}", "dist_name")
    known = [*(found.shapes.split(", ") if found.shapes else []), "loc"]
    known += ["scale"] if isinstance(found, stats.rv_continuous) else []
    for given in parameters:
        if given not in known:
            hint = did_you_mean(given, known) or f" It has: {', '.join(known)}."
            raise ParametersProblem(f"'{name}' has no parameter '{given[:60]}'.{hint}", f"dist_params.{given}")
    missing = [shape for shape in known if shape not in {"loc", "scale"} and shape not in parameters]
    if missing:
        raise ParametersProblem(f"'{name}' needs the parameter '{missing[0]}'.", "dist_params")
    frozen = found(**parameters)
    # SciPy answers with NaN, not with an error, when parameters are out of range.
    if not all(map(math.isfinite, map(float, _answers(frozen)))):
        raise ParametersProblem(f"'{name}' does not exist with these parameters: {_shown(parameters)}.", "dist_params")
    return frozen


def _answers(frozen: Any) -> list[Any]:
    try:
        return [frozen.ppf(0.25), frozen.ppf(0.75)]
    except (TypeError, ValueError):  # lists where numbers belong
        return [math.nan]


def _shown(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in parameters.items()) or "none"
