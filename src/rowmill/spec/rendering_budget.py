"""What one rendering of a template may do: how much text it makes, how long it works, how deep it calls.

Work is counted, not timed, so that the same template comes to the same end on every machine (V5): a unit is about half
a microsecond. Loops, calls, filters, comparisons and arithmetic all spend from the same budget, each what it costs.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from markupsafe import Markup

MAX_TEXT = 64 * 1024 * 1024
"""Characters one rendering may make."""
MAX_STEPS = 1_000_000
"""Items of one list, or of a range."""
MAX_WORK = 2_000_000
"""Units of work of one rendering: about a second."""
MAX_BITS = 16_384
"""Size of a whole number a template may compute."""
MAX_WIDTH = 10_000
"""Padding, indentation and precision."""
MAX_CALLS = 120
"""How deep macros, blocks and recursive loops may call each other."""
MAX_NESTING = 1000
"""How deep lists and mappings may be nested in each other."""

_PLAIN = frozenset(
    {
        str, int, float, bool, type(None), bytes, complex, range, decimal.Decimal, uuid.UUID, Markup,
        datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone,
    }
)  # fmt: skip
_PLAIN_BASES = (str, int, float, bytes, complex, datetime.date, datetime.time, datetime.timedelta, datetime.timezone)
_CONTAINERS = (list, tuple, dict, set, frozenset)
_VIEWS = (KeysView, ValuesView, ItemsView)


class TooLarge(SecurityError):
    """A rendering asked for more than its budget."""


class NeedsThread(Exception):
    """A rendering needs more work than the event loop can wait for; in a thread it may have all its budget."""


class NoValue(SecurityError):
    """A template would put out something that is no value: a method, a macro, a generator."""


class RenderContext(Context):
    """A rendering's variables, and what it may still do."""

    characters_left = MAX_TEXT
    work_left = MAX_WORK
    calls = 0
    """How deep macros and loops have called each other."""
    is_brief = False
    """Whether the rendering has less than all its budget, because somebody waits for it."""

    def work(self, units: int) -> None:
        """Takes units of work from the budget; raises :class:`TooLarge` when it is used up."""
        self.work_left -= units
        if self.work_left < 0:
            if self.is_brief:
                raise NeedsThread
            raise TooLarge("one rendering takes about a second of work at most, in loops, calls and filters")

    def spend(self, characters: int) -> None:
        """Takes characters that are made from the budget; raises :class:`TooLarge` when it is used up."""
        self.characters_left -= characters
        if self.characters_left < 0:
            raise TooLarge(f"one rendering makes at most {MAX_TEXT:,} characters of text")
        if characters > 1024:
            self.work(characters >> 10)

    def weigh(self, value: object) -> int:
        """About how many characters a value has as text; the work of looking is taken from the budget."""
        characters, items = measure(value, self.work_left)
        self.work(items)
        return characters

    def text_weight(self, value: object) -> int:
        """The same for a value of which text is made; raises :class:`NoValue` for what is none."""
        if type(value) not in _PLAIN:
            _check_value(value)
        if isinstance(value, _CONTAINERS):
            characters, items = measure(value, self.work_left, check=True)
            self.work(items)
            return characters
        return len(value) if isinstance(value, str) else 8 + 12 * len(value) if isinstance(value, _VIEWS) else 8

    def check_key(self, key: object) -> object:
        """The key of a mapping if it can be hashed: Python crashes over one that is nested too deeply."""
        if isinstance(key, (tuple, frozenset)):
            self.work(measure(key, self.work_left)[1])
        elif isinstance(key, (str, bytes)) and len(key) > 4096:
            self.work(len(key) >> 10)
        return key

    def counted(self, items: Iterable[Any], units: int) -> Iterator[Any]:
        """The items, each of them for some units of work."""
        for item in items:
            self.work(units)
            yield item

    def listed(self, items: Iterable[Any]) -> list[Any]:
        """The items of an iterator as a list; as many as the budget allows."""
        return list(self.counted(items, 1))


def measure(value: object, most_items: int = 4 * MAX_STEPS, *, check: bool = False) -> tuple[int, int]:
    """About how many characters a value has as text, and how many items were looked at for it.

    Follows nested lists and mappings, which can be small in memory and huge as text. Ends soon after ``most_items`` or
    the largest text there may be. Raises :class:`TooLarge` for what is nested too deeply, with ``check``
    :class:`NoValue` for what holds something that is no value.
    """
    if isinstance(value, str):
        return len(value), 0
    if not isinstance(value, _CONTAINERS):
        return 8, 0
    total = items = 0
    unfinished: list[Iterator[object]] = [iter((value,))]
    while unfinished and total <= MAX_TEXT and items <= most_items:
        item = next(unfinished[-1], unfinished)
        if item is unfinished:
            unfinished.pop()
            continue
        items += 1
        total += 4
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, dict):
            unfinished.append(part for pair in item.items() for part in pair)
        elif isinstance(item, _CONTAINERS):
            unfinished.append(iter(item))
        elif check and type(item) not in _PLAIN:
            _check_value(item)
            if isinstance(item, Undefined):
                raise NoValue("what is undefined is no value in a list or mapping")
        if len(unfinished) > MAX_NESTING:
            raise TooLarge(f"lists and mappings are nested in each other at most {MAX_NESTING} levels deep")
    return total, items


def _check_value(value: object) -> None:
    """Raises for what is no value: its text would tell of the process, not of the row."""
    if isinstance(value, Undefined):
        str(value)  # raises, but for what an 'if' without 'else' gives, which is an empty text
        return
    if type(value) in _PLAIN or isinstance(value, (*_PLAIN_BASES, *_CONTAINERS, *_VIEWS)):
        return
    name = getattr(value, "__name__", None) or getattr(value, "name", None)
    if isinstance(value, Iterator):
        raise NoValue("a filter that makes items one by one is no value: put | list or | join behind it")
    if callable(value):
        shown = f"'{name}'" if isinstance(name, str) else "it"
        raise NoValue(f"a function, method or macro is no value: call {shown} with parentheses")
    raise NoValue(f"{_A_KIND.get(type(value).__name__, 'an object of the template')} is no value: name a field of it")


_A_KIND = {"Namespace": "a namespace", "LoopContext": "the loop", "TemplateReference": "the template itself"}


def check_width(value: object) -> None:
    """Raises :class:`TooLarge` for a width, or a text in the place of one, that is out of bounds."""
    if (isinstance(value, int) and abs(value) > MAX_WIDTH) or (isinstance(value, str) and len(value) > MAX_WIDTH):
        raise TooLarge(f"a width is at most {MAX_WIDTH:,}")


def check_size(number: int) -> None:
    """Raises :class:`TooLarge` for a whole number whose arithmetic would take long."""
    if number.bit_length() > MAX_BITS:
        raise TooLarge("a whole number has at most some thousand digits")


def search_work(text: str | bytes, sought: str | bytes) -> int:
    """What looking for a text in another one takes at most."""
    return (len(text) * min(max(len(sought), 1), 128)) >> 11


def comparison_work(context: RenderContext, operator: str, left: Any, right: Any) -> None:
    """Spends what ``left operator right`` takes at most."""
    if operator not in {"in", "notin"}:
        if isinstance(left, _CONTAINERS) and isinstance(right, _CONTAINERS):
            context.work(1 + min(context.weigh(left), context.weigh(right)) >> 10)
        elif isinstance(left, (str, bytes)) and isinstance(right, (str, bytes)):
            context.work(1 + (min(len(left), len(right)) >> 12))
        else:
            context.work(1)
    elif isinstance(right, (str, bytes)):
        context.work(1 + (search_work(right, left) if isinstance(left, (str, bytes)) else 0))
    elif isinstance(right, (dict, KeysView)):
        context.check_key(left)
        context.work(1)
    elif isinstance(right, range):
        context.work(1 if isinstance(left, int) else 1 + len(right) // 8)
    elif isinstance(right, (list, tuple, ValuesView, ItemsView)):
        context.work(1 + len(right) // 8)
        if isinstance(left, _CONTAINERS):
            context.work(context.weigh(left) >> 4)
            context.weigh(list(right))
        elif isinstance(left, str) and len(left) > 256:
            context.work((len(left) * len(right)) >> 12)
    else:
        context.work(1)


def is_mapping(value: object) -> bool:
    """Whether fields of a value are looked for before its methods."""
    return type(value) is dict or isinstance(value, Mapping)
