"""Everything a spec can configure, by table: what ``test_kill_options`` kills."""

from __future__ import annotations

from option import Option, together
from options_of_columns import COLUMN_TYPES, SAMPLERS, VALIDATORS
from options_of_models import MODELS
from options_of_seeds import SEEDS

OPTIONS: dict[str, dict[str, Option]] = {
    "column types": COLUMN_TYPES,
    "samplers": SAMPLERS,
    "seeds": SEEDS,
    "validators": VALIDATORS,
    "models": MODELS,
}

MOST_TOGETHER = 8


def cases(table: str) -> dict[str, Option]:
    """Every option of a table once: plain ones several in a run, all others in a run of their own. By name."""
    rows = OPTIONS[table]
    plain = [name for name, option in rows.items() if option.is_plain]
    found = {name: option for name, option in rows.items() if not option.is_plain}
    for first in range(0, len(plain), MOST_TOGETHER):
        names = plain[first : first + MOST_TOGETHER]
        found[", ".join(names)] = together([rows[name] for name in names])
    return found
