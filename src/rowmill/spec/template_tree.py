"""A template's tree, before it becomes code: which names it needs, and where it spends from the budget.

Rewrites with Jinja's public nodes only. What Jinja would do unseen (a loop's steps, ``a ~ b``, ``a[b:c]``, comparing,
macros, keys) becomes a call of one of our own filters, whose names no template can write. Walks without recursion: a
tree can be as deep as its text is long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from jinja2 import nodes

CONCATENATE = "rowmill concatenate"
CUT = "rowmill cut"
COMPARE = "rowmill compare"
METHOD = "rowmill method"
ITEM_TO_CALL = "rowmill item to call"
KEY = "rowmill key"
SPREAD = "rowmill spread"
STEP = "rowmill step"

MAX_DEPTH = 500
"""Levels of a tree. Python refuses code of some 200 parentheses anyway."""
MAX_NODES = 50_000
"""Nodes of a tree."""
MAX_TOKENS = 4 * MAX_NODES
"""Words and signs of a template's text."""
_NODES_A_UNIT = 3
_EQUALITIES = frozenset({"eq", "ne", "lt", "lteq", "gt", "gteq"})
_BODIES = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)


class _Spot(NamedTuple):
    """Where a node hangs."""

    node: nodes.Node
    parent: nodes.Node
    field: str
    position: int | None


def all_nodes(tree: nodes.Template) -> Iterator[nodes.Node]:
    """Every node below the root, in the order of the text."""
    left = [iter(tree.iter_child_nodes())]
    while left:
        node = next(left[-1], None)
        if node is None:
            left.pop()
            continue
        yield node
        left.append(iter(node.iter_child_nodes()))


def size_problem(tree: nodes.Template) -> str | None:
    """Why a tree is too large to be made code of; None if it is not."""
    left: list[tuple[nodes.Node, int]] = [(tree, 0)]
    seen = 0
    while left:
        node, depth = left.pop()
        seen += 1
        if depth > MAX_DEPTH:
            return "The template is nested too deeply."
        if seen > MAX_NODES:
            return f"The template is too long: it has more than {MAX_NODES:,} parts."
        left += [(child, depth + 1) for child in node.iter_child_nodes()]
    return None


def spending(tree: nodes.Template) -> nodes.Template:
    """The same tree, spending from the budget of a rendering."""
    spots = list(_spots(tree))
    size, text = _sizes(spots)
    called = {id(spot.node.node) for spot in spots if isinstance(spot.node, nodes.Call)}
    for node, parent, field, position in reversed(spots):
        if isinstance(node, _BODIES):
            cost = 2 + size.get(id(node), 0) // _NODES_A_UNIT
            _spend_in_body(node, cost, text.get(id(node), 0))
        new = _rewritten(node, is_called=id(node) in called)
        if new is node:
            continue
        new.set_lineno(node.lineno)
        if position is None:
            setattr(parent, field, new)
        else:
            getattr(parent, field)[position] = new
    return tree


def _spots(tree: nodes.Template) -> Iterator[_Spot]:
    """Every node with where it hangs, parents first."""
    left: list[nodes.Node] = [tree]
    while left:
        parent = left.pop()
        for field, value in parent.iter_fields():
            for position, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, nodes.Node):
                    yield _Spot(node, parent, field, position)
                    left.append(node)


def _sizes(spots: list[_Spot]) -> tuple[dict[int, int], dict[int, int]]:
    """Of each node how many nodes are below it, and how many characters of plain text."""
    size: dict[int, int] = {}
    text: dict[int, int] = {}
    for node, parent, _, _ in reversed(spots):
        size[id(parent)] = size.get(id(parent), 0) + 1 + size.get(id(node), 0)
        own = len(node.data) if isinstance(node, nodes.TemplateData) else text.get(id(node), 0)
        if own:
            text[id(parent)] = text.get(id(parent), 0) + own
    return size, text


def _spend_in_body(node: nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block, cost: int, characters: int) -> None:
    """Lets every step of a loop, and every call of a macro or block, spend what its body costs."""
    arguments: list[nodes.Expr] = [nodes.Const(characters)]
    step = nodes.ExprStmt(nodes.Filter(nodes.Const(cost), STEP, arguments, [], None, None))
    step.set_lineno(node.lineno)
    node.body.insert(0, step)
    if isinstance(node, nodes.For) and node.test is not None:
        spent = nodes.Filter(nodes.Const(cost), STEP, [nodes.Const(0)], [], None, None)
        node.test = nodes.And(spent, node.test)
        node.test.set_lineno(node.lineno)


def _filter(value: nodes.Expr, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, list(arguments), [], None, None)


def _rewritten(node: nodes.Node, *, is_called: bool) -> nodes.Node:
    if isinstance(node, nodes.Concat):
        return _filter(nodes.Tuple(node.nodes, "load"), CONCATENATE)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        bounds = (node.arg.start, node.arg.stop, node.arg.step)
        return _filter(node.node, CUT, *(nodes.Const(None) if bound is None else bound for bound in bounds))
    if is_called and isinstance(node, nodes.Getattr):
        return _filter(node.node, METHOD, nodes.Const(node.attr))
    if is_called and isinstance(node, nodes.Getitem):
        return _filter(node.node, ITEM_TO_CALL, node.arg)
    if is_called and isinstance(node, nodes.Filter) and node.name == "attr":
        node.name = METHOD
    if isinstance(node, nodes.Compare):
        return _compared(node)
    if isinstance(node, nodes.Pair) and not isinstance(node.key, nodes.Const):
        node.key = _filter(node.key, KEY)
        node.key.set_lineno(node.lineno)
    if isinstance(node, (nodes.Call, nodes.Filter, nodes.Test)) and node.dyn_args is not None:
        node.dyn_args = _filter(node.dyn_args, SPREAD)
        node.dyn_args.set_lineno(node.lineno)
    return node


def _compared(node: nodes.Compare) -> nodes.Expr:
    """A comparison that spends; as it is where one side is a constant, which bounds what it takes.

    A chain (``a < b < c``) keeps what it evaluates and when, and spends for each of its sides.
    """
    if len(node.ops) > 1:
        for operand in node.ops:
            operand.expr = _filter(operand.expr, COMPARE)
            operand.expr.set_lineno(node.lineno)
        return node
    (operand,) = node.ops
    sides = (node.expr, operand.expr)
    if operand.op in _EQUALITIES and any(isinstance(side, nodes.Const) for side in sides):
        return node
    if isinstance(operand.expr, (nodes.List, nodes.Tuple)) and all(
        isinstance(item, nodes.Const) for item in operand.expr.items
    ):
        return node
    return _filter(node.expr, COMPARE, nodes.Const(operand.op), operand.expr)
