"""The graph of a run as SVG: a box for each generator, in columns by how far it is from the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

_BOX_WIDTH, _BOX_HEIGHT = 220, 58
_GAP_X, _GAP_Y = 46, 14
_NAME_CHARACTERS, _CHARACTERS = 26, 35
"""Of average width, that a line of a box holds: its name is bold and larger."""


def graph_drawing(generators: Sequence[Mapping[str, Any]]) -> Markup:
    """The rows of the view ``graph`` as boxes with counts, coloured by state, and arrows to those that need them."""
    depth: dict[str, int] = {}
    for row in generators:  # in topological order
        depth[row["generator"]] = 1 + max((depth[name] for name in row["needs"] if name in depth), default=-1)
    filled: dict[int, int] = {}
    place: dict[str, tuple[int, int]] = {}
    for row in generators:
        level = depth[row["generator"]]
        slot = filled.get(level, 0)
        filled[level] = slot + 1
        place[row["generator"]] = (4 + level * (_BOX_WIDTH + _GAP_X), 4 + slot * (_BOX_HEIGHT + _GAP_Y))
    width = 8 + (max(depth.values(), default=0) + 1) * (_BOX_WIDTH + _GAP_X) - _GAP_X
    height = 8 + max(filled.values(), default=1) * (_BOX_HEIGHT + _GAP_Y) - _GAP_Y
    arrows = "".join(
        _arrow(place[name], place[row["generator"]]) for row in generators for name in row["needs"] if name in place
    )
    boxes = "".join(_box(row, *place[row["generator"]]) for row in generators)
    return Markup(
        '<svg class="graph" role="img" aria-label="The graph of the generators" width="{}" height="{}"'
        ' viewBox="0 0 {} {}">{}</svg>'
    ).format(width, height, width, height, Markup(arrows + boxes))


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + _BOX_WIDTH, start[1] + _BOX_HEIGHT // 2
    x2, y2 = end[0], end[1] + _BOX_HEIGHT // 2
    bend = max((x2 - x1) // 2, 20)
    return (
        f'<path class="arrow" d="M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2 - 6},{y2}"/>'
        f'<path class="tip" d="M{x2},{y2} l-8,-4 v8 z"/>'
    )


def _box(row: Mapping[str, Any], x: int, y: int) -> str:
    settled = row["done"] + row["skipped"] + row["dropped"]
    share = settled / row["cells"] if row["cells"] else 1.0
    columns = ", ".join(row["columns"] or [row["generator"]])
    counts = f"{settled:,} of {row['cells']:,}"
    for name in ("skipped", "dropped", "deferred"):
        if row[name]:
            counts += f", {row[name]:,} {name}"
    title = escape(f"{columns}\n{row['column_type']}, {row['strategy']}\n{row['state']}: {counts}")
    return (
        f'<g class="box {escape(row["state"])}"><title>{title}</title>'
        f'<rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"/>'
        f'<text class="name" x="{x + 9}" y="{y + 18}">{escape(_shortened(columns, _NAME_CHARACTERS))}</text>'
        f'<text x="{x + 9}" y="{y + 33}">{escape(_shortened(row["column_type"] + " · " + row["strategy"]))}</text>'
        f'<text x="{x + 9}" y="{y + 47}">{escape(_shortened(counts))}</text>'
        f'<rect class="done" x="{x + 1}" y="{y + _BOX_HEIGHT - 5}" width="{(_BOX_WIDTH - 2) * share:.1f}" height="4"/>'
        "</g>"
    )


def _shortened(text: str, characters: int = _CHARACTERS) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
