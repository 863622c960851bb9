"""The decorator that lets a function say, where it is written, what it needs and makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from rowmill.spec.dtype import sql_type

_Function = TypeVar("_Function", bound=Callable[..., Any])
_ATTRIBUTE = "__rowmill_traits__"


@dataclass(frozen=True, slots=True)
class FunctionTraits:
    """What a custom function says of itself. None: it does not say."""

    required_columns: tuple[str, ...] | None = None
    side_effect_columns: tuple[tuple[str, str], ...] = ()
    """Names with their dtype."""
    model_aliases: tuple[str, ...] = ()
    strategy: Literal["cell", "batch", "dataset"] | None = None
    ordered: bool = False


def generator(
    *,
    required_columns: Sequence[str] | None = None,
    side_effect_columns: Sequence[str] | Mapping[str, str] | None = None,
    model_aliases: Sequence[str] = (),
    strategy: Literal["cell", "batch", "dataset"] | None = None,
    ordered: bool = False,
) -> Callable[[_Function], _Function]:
    """Marks a function as the generator of a ``custom`` column, or a class; it stays as it is.

    ``required_columns`` are the columns its row (or table) holds. ``side_effect_columns`` are further
    columns it returns: names, or names with their dtype. ``model_aliases`` are the models it may ask.
    ``ordered``: it takes one row group at a time, in their order; a batch function keeps a state between them. The same
    fields of the spec win over what is said here.

    Example::

        @rowmill.generator(required_columns=["review"])
        def word_count(row) -> int:
            return len(row["review"].split())
    """
    for name, value in {"required_columns": required_columns, "model_aliases": model_aliases}.items():
        if isinstance(value, str):
            raise TypeError(f"{name} is a list of names: write {name}=[{value!r}]")
    if isinstance(side_effect_columns, str):
        raise TypeError(f"side_effect_columns is a list of names: write side_effect_columns=[{side_effect_columns!r}]")
    if strategy not in {None, "cell", "batch", "dataset"}:
        raise ValueError(f"strategy is 'cell', 'batch' or 'dataset', not {strategy!r}")
    effects = side_effect_columns or {}
    if not isinstance(effects, Mapping):
        effects = dict.fromkeys(effects, "str")
    for dtype in effects.values():
        sql_type(dtype)
    traits = FunctionTraits(
        None if required_columns is None else tuple(required_columns),
        tuple(effects.items()),
        tuple(model_aliases),
        strategy,
        ordered,
    )

    def mark(function: _Function) -> _Function:
        setattr(function, _ATTRIBUTE, traits)
        return function

    return mark


def traits_of(function: Callable[..., Any]) -> FunctionTraits:
    """What the function says of itself; nothing if it is not decorated."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, FunctionTraits) else FunctionTraits()
