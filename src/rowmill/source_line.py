"""What an error says, and where in a user's own code it was raised, as ``functions.py:5``."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path

_NAME_OF_OURS = re.compile(r"(<(?:class '|function )?[\w.]+)@[0-9a-f]{16}(?=\.)")
_PLACE_IN_MEMORY = re.compile(r"(?<=[\w>]) at 0x[0-9a-f]+(?=>)")
_PLACES = ("stdlib", "platstdlib", "purelib", "platlib")
_NOT_THE_USERS = (
    str(Path(__file__).resolve().parent),
    *(str(Path(sysconfig.get_path(place)).resolve()) for place in _PLACES),
)

LINE_ELSEWHERE = "line_elsewhere"
"""The attribute of an error that came from another process: where it was raised there."""


def said_by(error: BaseException) -> str:
    """What an error says; its type if it says nothing. A user's error may fail to say anything."""
    try:
        return str(error) or type(error).__name__
    except Exception as unspeakable:  # noqa: BLE001  recorded: in place of the message
        return f"(its message cannot be made: {type(unspeakable).__name__})"


def same_everywhere(text: str) -> str:
    """A message as every process says it, so that one fault has one message.

    Where Python shows an object by its place in memory, that is left out; and what Rowmill adds to the name of a user's
    module.
    """
    return _PLACE_IN_MEMORY.sub("", _NAME_OF_OURS.sub(r"\1", text)) if "<" in text else text


def source_line(error: BaseException | None) -> str | None:
    """File and line of the innermost call in the user's own code; None if none is in the error's traceback.

    The user's own is what lies neither in Rowmill, in Python's library nor in an installed package. Where an error was
    raised from another one, the place of that one counts.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(told := vars(error).get(LINE_ELSEWHERE), str):
            return told
        for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
            file = frame.f_code.co_filename
            if not file.startswith("<") and not str(Path(file).resolve()).startswith(_NOT_THE_USERS):
                return f"{Path(file).name}:{line}"
        error = error.__cause__
    return None
