"""YAML as a spec means it: only plain data, nothing guessed, nothing given twice.

Like YAML 1.2, and unlike YAML 1.1: only ``true`` and ``false`` are booleans (``yes``, ``no`` and ``on``
are text), dates are text, ``1:30`` is text, ``1e3`` is a number, ``010`` is ten. Keys are always text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode
from yaml.resolver import BaseResolver

from rowmill.errors import Problem

MAX_DEPTH = 100
"""Levels of nesting, aliases followed."""
MAX_VALUES = 500_000
"""Values of a document, aliases followed."""

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "seq", "map"))
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


class _Constructor(SafeConstructor):
    """Makes plain data of nodes whose tags are plain."""

    def construct_yaml_int(self, node: ScalarNode) -> int:
        """A whole number: decimal, ``0o`` or ``0x``."""
        text = self.construct_scalar(node)
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def construct_yaml_float(self, node: ScalarNode) -> float:
        """A floating-point number."""
        return float(self.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


_Constructor.yaml_constructors = {
    **SafeConstructor.yaml_constructors,
    _TAG + "int": _Constructor.construct_yaml_int,
    _TAG + "float": _Constructor.construct_yaml_float,
}


class _Loader(_Parser, _Constructor, _Resolver):
    def __init__(self, text: str) -> None:
        _Parser.__init__(self, text)
        _Constructor.__init__(self)
        _Resolver.__init__(self)


def load_yaml(text: str) -> tuple[Any, list[Problem]]:
    """The data of a YAML document, and what is wrong with it. With problems the data may be incomplete."""
    try:
        depth_problem = _depth_problem(text)
        if depth_problem is not None:
            return None, [depth_problem]
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None, []
            problems = _node_problems(root)
            if any(problem.place == "" for problem in problems):
                return None, problems
            return loader.construct_document(root), problems
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        context = f"{error.context}: " if error.context else ""
        return None, [Problem(place, f"The spec is not valid YAML: {context}{error.problem}.")]
    except yaml.reader.ReaderError as error:
        return None, [Problem("", f"The spec is not valid YAML: {error.reason} (position {error.position}).")]
    except (yaml.YAMLError, ValueError) as error:
        return None, [Problem("", f"The spec is not valid YAML: {error}.")]


def _events(text: str) -> Iterator[yaml.Event]:
    loader = _Loader(text)
    try:
        while loader.check_event():
            event: yaml.Event = loader.get_event()  # type: ignore[no-untyped-call]
            yield event
    finally:
        loader.dispose()


def _depth_problem(text: str) -> Problem | None:
    """Looks at the events first: composing nodes recurses, and C code would overflow its stack."""
    depth = 0
    for event in _events(text):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return Problem("", f"The spec is nested too deeply (more than {MAX_DEPTH} levels).")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


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
