"""The nearest valid name to a wrong one, for messages that help."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name a person most likely meant, or None when nothing is close. Case is ignored."""
    by_folded: dict[str, str] = {}
    for candidate in names:
        by_folded.setdefault(candidate.casefold(), candidate)
    close = difflib.get_close_matches(name.casefold()[:255], by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``" Did you mean 'review'?"``, or an empty text when nothing is close."""
    found = nearest(name, names)
    return f" Did you mean '{found}'?" if found is not None else ""


def did_you_mean_file(path: Path, suffixes: Iterable[str]) -> str:
    """The same for a file that is not there, among those with such an ending in its directory."""
    wanted = tuple(suffixes)
    try:
        names = sorted(each.name for each in path.parent.iterdir() if each.name.lower().endswith(wanted))
    except OSError:  # there is no such directory, or we may not look
        return ""
    near = nearest(path.name, names)
    return f" Did you mean '{path.with_name(near)}'?" if near is not None else ""


_MEANT = re.compile(r" Did you mean '(.*?)'\?")


def suggested(message: str) -> str | None:
    """What :func:`did_you_mean` suggested in a message; None if it did not."""
    found = _MEANT.search(message)
    return found[1] if found else None
