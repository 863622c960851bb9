"""Files of one dataset have the same columns, of the same types; their order may differ."""

from __future__ import annotations

from collections.abc import Mapping

from rowmill.errors import Problem, SpecError
from rowmill.spec.nearest import did_you_mean


def check_agreement(first: Mapping[str, str], other: Mapping[str, str], first_name: str, other_name: str) -> None:
    """Raises SpecError if the columns (name → type) of two files differ, saying in what."""
    missing = [name for name in first if name not in other]
    extra = [name for name in other if name not in first]
    if missing or extra:
        raise disagreement(missing, extra, first_name, other_name)
    for name, kind in first.items():
        if other[name] != kind:
            message = (
                f"{other_name}: column {name!r} is {other[name]}, but {kind} in {first_name}. All files have "
                "the same columns with the same types; write the files anew with one of the two."
            )
            raise SpecError([Problem("seed_dataset.path", message)])


def disagreement(missing: list[str], extra: list[str], first_name: str, other_name: str) -> SpecError:
    """The problem of a file that lacks columns of the first one, or has others."""
    told = []
    if missing:
        told.append(f"it lacks {', '.join(map(repr, missing[:10]))}")
    if extra:
        told.append(f"{first_name} has no {', '.join(map(repr, extra[:10]))}")
    hint = did_you_mean(extra[0], missing) if missing and extra else ""
    message = (
        f"{other_name} has other columns than {first_name}: {' and '.join(told)}.{hint} All files have the "
        "same columns."
    )
    return SpecError([Problem("seed_dataset.path", message)])
