"""Fingerprints: equal as long as a generator would make the same values from the same inputs (V2)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from rowmill.spec.declaration import Declaration


def fingerprint(declaration: Declaration) -> str:
    """SHA-256, in hexadecimal, of what shapes the values of a generator.

    That is what the column type put into ``Declaration.fingerprint``, the outputs with their types, the
    names of the inputs, and the skip rule. Not: place, strategy, resource, time-outs, ``drop``. The order
    of keys does not count, so a column type whose mapping has a meaningful order puts pairs there.
    """
    skip = declaration.skip
    shaping: dict[str, Any] = {
        "column_type": declaration.column_type,
        "name": declaration.name,
        "values": dict(declaration.fingerprint),
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
