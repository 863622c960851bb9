"""Custom functions of the example. A function gets a row (a dict) and returns the value of its column."""

from typing import Any

import rowmill


@rowmill.generator(required_columns=["flipper_length_mm", "body_mass_g"])
def build(row: dict[str, Any]) -> str | None:
    """How a penguin is built: its mass for the length of its flippers. Nothing for the few never measured."""
    if row["body_mass_g"] is None:
        return None
    grams_per_mm = row["body_mass_g"] / row["flipper_length_mm"]
    return "sturdy" if grams_per_mm > 21.5 else "slender" if grams_per_mm < 19.0 else "average"
