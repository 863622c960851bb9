"""Everything a spec can configure, by table: what ``test_kill_options`` kills."""

from __future__ import annotations

from option import Option
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
