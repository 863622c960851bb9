"""Fingerprints: equal as long as a generator would make the same values from the same inputs (V2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rowmill.spec.declaration import Declaration


def fingerprint(declaration: Declaration) -> str:
    """SHA-256, in hexadecimal, of what shapes the values of a generator.

    That is what the column type put into ``Declaration.fingerprint``, the outputs with their types, the
    names of the inputs, and the skip rule. Not: place, strategy, resource, time-outs, ``drop``. The order
    of keys does not count, so a column type whose mapping has a meaningful order puts pairs there.
    """
    return _digest(declaration, declaration.fingerprint)


def earlier_fingerprint(declaration: Declaration) -> str | None:
    """The same as Rowmill made it when the whole file of a function counted; None if it is no other."""
    if declaration.source_sha256 is None:
        return None
    others = {name: value for name, value in declaration.fingerprint.items() if name != "code_sha256"}
    return _digest(declaration, {**others, "source_sha256": declaration.source_sha256})


def _digest(declaration: Declaration, values: Mapping[str, Any]) -> str:
    skip = declaration.skip
    shaping: dict[str, Any] = {
        "column_type": declaration.column_type,
        "name": declaration.name,
        "values": dict(values),
        "inputs": sorted({reference.name for reference in declaration.inputs}),
        "outputs": [[output.name, output.sql_type, output.side_effect] for output in declaration.outputs],
        "skip": None if skip is None else [skip.template, skip.sql, skip.value],
        "propagate_skip": declaration.propagate_skip,
    }
    if declaration.requires:
        # A skip of one of them propagates, and a barrier among them decides which rows get here at all.
        shaping["requires"] = sorted({reference.name for reference in declaration.requires})
    text = json.dumps(shaping, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
