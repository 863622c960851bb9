"""An estimate in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rowmill.cli.figures import money, plural, short_count, short_duration

if TYPE_CHECKING:
    from rowmill.engine.estimate import Estimate


def in_words(estimate: Estimate) -> str:
    """What a run takes, marked as an estimate, beside its budget."""
    parts = [
        f"about {plural(estimate.requests, 'request')}",
        f"{short_count(estimate.input_tokens)} input tokens",
        f"{short_count(estimate.output_tokens)} output tokens",
    ]
    parts.append(f"{money(estimate.cost_usd)}" if estimate.cost_usd is not None else "no price known")
    if estimate.seconds is not None:
        parts.append(f"{short_duration(estimate.seconds)} of requests at the limits of the spec")
    text = f"Estimate for {plural(estimate.rows, 'row')}, from {plural(estimate.from_rows, 'row')}: {', '.join(parts)}."
    if estimate.assumed_output_tokens is not None:
        text += f" A model without max_tokens is taken to answer with {estimate.assumed_output_tokens} tokens."
    elif estimate.seconds is None:
        text += " Answers are taken to be as long as max_tokens allows."
    if estimate.budget_usd is not None and estimate.cost_usd is not None:
        over = "over" if estimate.cost_usd > estimate.budget_usd else "within"
        text += f" That is {over} the budget of {money(estimate.budget_usd)}."
    return text
