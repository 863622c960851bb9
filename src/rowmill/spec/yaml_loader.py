"""YAML as a spec means it: only plain data, nothing guessed, nothing given twice.

Like YAML 1.2, and unlike YAML 1.1: only ``true`` and ``false`` are booleans (``yes``, ``no`` and ``on``
are text), dates are text, ``1:30`` is text, ``1e3`` is a number, ``010`` is ten. Keys are always text.

PyYAML reads the syntax; what it means is decided here, so that no version of the library decides it:

- A merge key (``<<``) takes in the fields of a mapping, or of a list of mappings. A field that stands beside the merge
  key wins over those it takes in; in a list the first mapping that has a field wins. Fields taken in come before those
  beside the merge key, those of the last mapping of a list first.
- An unquoted value that is read as a number, a boolean or null, and is not written as Rowmill would write it
  (``01234``, ``3.10``, ``1e3``, ``TRUE``, ``~``), is a :class:`Spelling`: where a text may stand, it may be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode
from yaml.resolver import BaseResolver

from rowmill.errors import Problem

MAX_DEPTH = 100
"""Levels of nesting, aliases followed."""
MAX_VALUES = 500_000
"""Values of a document, aliases followed."""

MAX_SPELLINGS = 100
"""Values told of whose spelling is not kept."""

_TAG = "tag:yaml.org,2002:"
_MOST_DIGITS = 1000
"""Of a whole number. Python reads longer ones to another base than ten, and cannot write them."""
_PLAIN_TAGS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "seq", "map"))
_TOO_DEEP = Problem("", f"The spec is nested too deeply (more than {MAX_DEPTH} levels).")
_OPENING_TOKENS = (
    yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken, yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken
)  # fmt: skip
_CLOSING_TOKENS = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"

if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Parser(Reader, Scanner, Parser, Composer):
        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)
else:
    from yaml.cyaml import CParser as _Parser


class _Resolver(BaseResolver):
    """Which unquoted texts are something else than text. The order matters: an int is a float, too."""


for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("merge", "<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Resolver.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), list(_first))


class _Loader(_Parser, _Resolver):
    def __init__(self, text: str) -> None:
        _Parser.__init__(self, text)
        _Resolver.__init__(self)

    def close(self) -> None:
        """Ends the parser; the parser in Python has nothing to end."""
        dispose = getattr(self, "dispose", None)
        if dispose is not None:
            dispose()


@dataclass(frozen=True, slots=True)
class Spelling:
    """An unquoted value that is read as something else than text, and not written as that is usually written."""

    path: tuple[str | int, ...]
    """Fields and positions that lead to it."""
    line: int
    text: str
    """How it is written."""
    value: int | float | bool | str | None
    """What it is read as."""


class _NotPlain(Exception):
    """A value that is not what its tag says."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(f"line {line}", f"The spec is not valid YAML: {message}.")


def load_yaml(text: str) -> tuple[Any, list[Problem]]:
    """The data of a YAML document, and what is wrong with it. With problems the data may be incomplete."""
    data, problems, _ = load_yaml_with_spellings(text)
    return data, problems


def load_yaml_with_spellings(text: str) -> tuple[Any, list[Problem], list[Spelling]]:
    """The same, and the first :data:`MAX_SPELLINGS` values whose spelling is not kept."""
    try:
        root, problems = _checked_root(text)
        if root is None or any(problem.place == "" for problem in problems):
            return None, problems, []
        return _data(root, {}), problems, _spellings(root)
    except _NotPlain as error:
        return None, [error.problem], []
    except yaml.MarkedYAMLError as error:
        if _is_too_deep(text):
            return None, [_TOO_DEEP], []
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        context = f"{error.context}: " if error.context else ""
        return None, [Problem(place, f"The spec is not valid YAML: {context}{error.problem}.")], []
    except yaml.reader.ReaderError as error:
        return None, [Problem("", f"The spec is not valid YAML: {error.reason} (position {error.position}).")], []
    except yaml.YAMLError as error:
        return None, [Problem("", f"The spec is not valid YAML: {error}.")], []


def is_read_as_text(text: str) -> bool:
    """Whether the text means itself when it stands unquoted."""
    kind: str = _Resolver().resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return kind == _TAG + "str"


def _checked_root(text: str) -> tuple[Node | None, list[Problem]]:
    depth_problem = _depth_problem(text)
    if depth_problem is not None:
        return None, [depth_problem]
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    finally:
        loader.close()
    return root, _node_problems(root) if root is not None else []


def _data(node: Node, made: dict[int, Any]) -> Any:
    """The plain data of a node that has been checked. ``made`` holds what aliases name again."""
    if isinstance(node, ScalarNode):
        return _scalar(node)
    if id(node) not in made:
        if isinstance(node, SequenceNode):
            made[id(node)] = [_data(item, made) for item in node.value]
        else:
            own = {key.value: _data(value, made) for key, value in node.value if not _is_merge(key)}
            made[id(node)] = {**_taken_in(node, made), **own}
    return made[id(node)]


def _taken_in(node: Node, made: dict[int, Any]) -> dict[str, Any]:
    """The fields a mapping's merge key takes in."""
    fields: dict[str, Any] = {}
    for source in reversed(_sources(node)):
        fields.update(_data(source, made))
    return fields


def _sources(node: Node) -> list[Node]:
    """The mappings a mapping's merge key names, in their order."""
    sources: list[Node] = []
    for key, value in node.value:
        if _is_merge(key):
            sources += value.value if isinstance(value, SequenceNode) else [value]
    for source in sources:
        if not isinstance(source, MappingNode):
            raise _NotPlain(source.start_mark.line + 1, "'<<' takes a mapping or a list of mappings")
    return sources


def _is_merge(key: Node) -> bool:
    return bool(key.tag == _TAG + "merge")


def _scalar(node: ScalarNode) -> str | int | float | bool | None:
    text, kind = node.value, node.tag.removeprefix(_TAG)
    try:
        if kind == "int" and len(text) > _MOST_DIGITS:
            raise ValueError("what nobody could be shown again")
        if kind == "int":
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        is_long = len(text) > _MOST_DIGITS
        reason = "a whole number has too many digits" if is_long else f"{ascii(text)[:60]} is no number"
        raise _NotPlain(node.start_mark.line + 1, reason) from None
    if kind == "bool":
        if text.lower() not in {"true", "false"}:
            raise _NotPlain(node.start_mark.line + 1, f"{ascii(text)[:60]} is neither true nor false")
        return bool(text.lower() == "true")
    return None if kind == "null" else str(text)


def _spellings(root: Node) -> list[Spelling]:
    """Looks at every value with the path that leads to it first; what an alias names again has been told."""
    found: list[Spelling] = []
    seen: set[int] = set()
    left: list[tuple[tuple[str | int, ...], Node]] = [((), root)]
    while left and len(found) < MAX_SPELLINGS:
        path, node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            left += [((*path, index), item) for index, item in reversed([*enumerate(node.value)])]
        elif isinstance(node, MappingNode):
            left += [((*path, key.value), value) for key, value in reversed(node.value) if not _is_merge(key)]
            left += [(path, source) for source in reversed(_sources(node))]
        elif isinstance(node, ScalarNode) and _is_respelled(node):
            found.append(Spelling(path, node.start_mark.line + 1, node.value, _scalar(node)))
    return found


def _is_respelled(node: ScalarNode) -> bool:
    """Whether an unquoted text is read as something that is written differently."""
    if node.style or not node.value:
        return False
    value = _scalar(node)
    if isinstance(value, str):
        return False
    usual = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return bool(node.value != usual[value])
    written = repr(value)
    # Both ways a program may write a float: 1e+22 and, for readers of YAML 1.1, 1.0e+22.
    return node.value not in {written, written.replace("e", ".0e", 1 if "." not in written else 0)}


def _events(text: str) -> Iterator[yaml.Event]:
    loader = _Loader(text)
    try:
        while loader.check_event():
            event: yaml.Event = loader.get_event()  # type: ignore[no-untyped-call]
            yield event
    finally:
        loader.close()


def _depth_problem(text: str) -> Problem | None:
    """Looks at the events first: composing nodes recurses, and C code would overflow its stack."""
    depth = 0
    for event in _events(text):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return _TOO_DEEP
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _is_too_deep(text: str) -> bool:
    """Whether what the parser refused is its own limit of depth: it reads ahead, so it may see it before we do."""
    depth = 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _OPENING_TOKENS) - isinstance(token, _CLOSING_TOKENS)
            if depth > MAX_DEPTH:
                return True
    except (yaml.YAMLError, ValueError):
        return False
    return False


def _node_problems(root: Node) -> list[Problem]:
    """Repeated fields, tags that are not plain, and aliases that contain themselves or grow too large.

    Also gives every key the tag of text. Visits each node once, however often aliases name it.
    """
    problems: list[Problem] = []
    size: dict[int, tuple[int, int]] = {}
    """Of each finished node: values and levels in it, aliases followed."""
    open_nodes: list[tuple[Node, Iterator[Node]]] = [(root, iter(_children(root)))]
    on_path = {id(root)}
    problems += _own_problems(root)
    while open_nodes:
        node, children = open_nodes[-1]
        child = next(children, None)
        if child is None:
            open_nodes.pop()
            on_path.discard(id(node))
            inner = [size[id(each)] for each in _children(node)]
            size[id(node)] = (
                1 + sum(values for values, _ in inner),
                1 + max((levels for _, levels in inner), default=0),
            )
            if size[id(node)][0] > MAX_VALUES or size[id(node)][1] > MAX_DEPTH:
                return [Problem("", f"Aliases make the spec too large (more than {MAX_VALUES:,} values or too deep).")]
        elif id(child) in on_path:
            line = child.start_mark.line + 1
            return [Problem("", f"An alias contains itself (anchor in line {line}).")]
        elif id(child) not in size:
            problems += _own_problems(child)
            open_nodes.append((child, iter(_children(child))))
            on_path.add(id(child))
    return problems


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _own_problems(node: Node) -> list[Problem]:
    line = f"line {node.start_mark.line + 1}"
    wanted = None
    if isinstance(node, CollectionNode):
        wanted = _TAG + ("map" if isinstance(node, MappingNode) else "seq")
    if node.tag not in _PLAIN_TAGS and node.tag != _TAG + "merge":
        tag = node.tag.replace(_TAG, "!!")
        node.tag = wanted or _TAG + "str"
        return [Problem(line, f"The tag '{tag}' is not supported; a spec is plain data.")]
    if wanted is not None and node.tag != wanted:
        node.tag = wanted
        return [Problem(line, "The tag does not fit the value.")]
    return _key_problems(node) if isinstance(node, MappingNode) else []


def _key_problems(node: MappingNode) -> list[Problem]:
    problems = []
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            problems.append(Problem("", f"The field's name in line {line} is a list or mapping; it must be text."))
            continue
        if key.tag != _TAG + "merge":
            key.tag = _TAG + "str"
        if key.value in lines:
            message = f"Field '{key.value[:100]}' appears twice; it is in line {lines[key.value]} already."
            problems.append(Problem(f"line {line}", message))
        lines.setdefault(key.value, line)
    return problems
