"""Conditions: from DataDesigner's bare Jinja expressions (``age > 21 and kind in ['a', 'b']``) to SQL predicates."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from jinja2 import Environment, TemplateSyntaxError, nodes

_ENVIRONMENT = Environment(autoescape=False)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMPARED = {"eq": "=", "ne": "<>", "lt": "<", "lteq": "<=", "gt": ">", "gteq": ">="}
_BINARY: dict[type[nodes.BinExpr], str] = {
    nodes.And: "and",
    nodes.Or: "or",
    nodes.Add: "+",
    nodes.Sub: "-",
    nodes.Mul: "*",
    nodes.Div: "/",
}
_ROUNDED_DOWN: dict[type[nodes.BinExpr], str] = {
    nodes.FloorDiv: "floor({left} / {right})",
    nodes.Mod: "(({left} % {right} + {right}) % {right})",
}
"""Jinja rounds to the lower number, and a remainder has the sign of the divisor; the engine's own cut and do not."""
_FUNCTIONS = {"lower": "lower", "upper": "upper", "length": "length", "count": "length", "trim": "trim", "abs": "abs"}
_CASTS = {
    "int": "cast(trunc(cast({} as double)) as bigint)",  # a cast alone rounds
    "float": "cast({} as double)",
    "string": "cast({} as varchar)",
}
_TESTS: dict[str, Callable[[str], str]] = {
    "none": "({} is null)".format,
    "defined": "({} is not null)".format,
    "undefined": "({} is null)".format,
    "even": "({} % 2 = 0)".format,
    "odd": "(abs({} % 2) = 1)".format,
}


class NotSql(Exception):
    """What a condition uses that has no SQL here."""


def as_sql(condition: str) -> str:
    """The SQL predicate with the meaning of a Jinja expression. Raises :class:`NotSql`."""
    try:
        return _as_sql(condition)
    except RecursionError:
        raise NotSql("it is nested too deeply") from None


def _as_sql(condition: str) -> str:
    try:
        tree = _ENVIRONMENT.parse("{{ " + condition + " }}")
    except TemplateSyntaxError as error:
        raise NotSql(f"it is not valid Jinja: {error.message}") from error
    output = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(output, nodes.Output) or len(output.nodes) != 1:
        raise NotSql("it is not one expression")
    made = _sql(output.nodes[0])
    return made[1:-1] if made.startswith("(") and _closes_at_the_end(made) else made


def _closes_at_the_end(text: str) -> bool:
    """Whether the first bracket is closed by the last one."""
    depth, quote = 0, ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0 and position < len(text) - 1:
                return False
    return True


def _sql(node: nodes.Node) -> str:
    if isinstance(node, nodes.Const):
        return _constant(node.value)
    if isinstance(node, nodes.Name):
        return _identifier(node.name)
    if isinstance(node, nodes.Getattr):
        return f"{_sql(node.node)}.{_identifier(node.attr)}"
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        return f"{_sql(node.node)}.{_identifier(node.arg.value)}"
    if isinstance(node, nodes.Not):
        return f"(not {_sql(node.node)})"
    if isinstance(node, nodes.Neg):
        return f"(-{_sql(node.node)})"
    if isinstance(node, nodes.Compare):
        return _comparison(node)
    if isinstance(node, nodes.BinExpr) and type(node) in _BINARY:
        return f"({_sql(node.left)} {_BINARY[type(node)]} {_sql(node.right)})"
    if isinstance(node, nodes.BinExpr) and type(node) in _ROUNDED_DOWN:
        return _ROUNDED_DOWN[type(node)].format(left=_sql(node.left), right=_sql(node.right))
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return f"[{', '.join(map(_sql, node.items))}]"
    if isinstance(node, nodes.Filter) and node.node is not None and not (node.args or node.kwargs):
        if node.name in _FUNCTIONS:
            return f"{_FUNCTIONS[node.name]}({_sql(node.node)})"
        if node.name in _CASTS:
            return _CASTS[node.name].format(_sql(node.node))
    if isinstance(node, nodes.Test) and node.name in _TESTS and not (node.args or node.kwargs):
        return _TESTS[node.name](_sql(node.node))
    name = getattr(node, "name", None)
    raise NotSql(f"it uses {type(node).__name__.lower()}{f' {name!r}' if isinstance(name, str) else ''}")


def _comparison(node: nodes.Compare) -> str:
    parts = []
    left = node.expr
    for operand in node.ops:
        right = operand.expr
        if operand.op in {"in", "notin"}:
            part = _containment(left, right)
            parts.append(part if operand.op == "in" else f"(not {part})")
        elif isinstance(right, nodes.Const) and right.value is None and operand.op in {"eq", "ne"}:
            parts.append(f"({_sql(left)} is {'not ' if operand.op == 'ne' else ''}null)")
        else:
            parts.append(f"({_sql(left)} {_COMPARED[operand.op]} {_sql(right)})")
        left = right
    return parts[0] if len(parts) == 1 else f"({' and '.join(parts)})"


def _containment(item: nodes.Node, container: nodes.Node) -> str:
    if isinstance(container, (nodes.List, nodes.Tuple)):
        return f"({_sql(item)} in ({', '.join(map(_sql, container.items))}))" if container.items else "false"
    return f"contains({_sql(container)}, {_sql(item)})"


def _constant(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        if not math.isfinite(value):
            raise NotSql("it has a number that is not finite")
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def _identifier(name: str) -> str:
    """A name as SQL takes it."""
    quoted = name.replace('"', '""')
    return f'"{quoted}"' if not _NAME.fullmatch(name) or name.lower() in _KEY_WORDS else name


_RESERVED = """
    all analyse analyze and any array as asc asymmetric at both case cast check collate column constraint create default
    deferrable desc describe distinct do else end except fetch for foreign from group having in initially intersect into
    lambda lateral leading limit not null offset on only or order pivot placing primary qualify references returning
    select show some summarize symmetric table then to trailing union unique unpivot using variadic when where window
    with
"""
_KEY_WORDS = frozenset(_RESERVED.split())
"""DuckDB's reserved words."""
