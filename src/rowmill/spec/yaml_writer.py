"""Writing YAML that means the same to Rowmill (YAML 1.2) and to readers of YAML 1.1."""

from __future__ import annotations

import re
from typing import Any

import yaml

from rowmill.spec.yaml_loader import is_read_as_text

_ODD_BREAKS = re.compile("[\\r\\x85\\u2028\\u2029\\ufeff]")
"""Line breaks of YAML 1.1: only double quotes keep them."""


class _Dumper(yaml.SafeDumper):
    """Quotes texts that either kind of reader would take for something else: ``yes``, and ``1e3`` or ``08540`` too."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if _ODD_BREAKS.search(text) else None if is_read_as_text(text) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def dump_yaml(data: Any, *, width: int = 120, default_flow_style: bool | None = False) -> str:
    """The text of a document, in the order of the data; control characters are written as escapes."""
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=width,
        default_flow_style=default_flow_style,
    )
    return text
