"""``rowmill check-models``: can the models be reached, and what do they take?"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rowmill.cli.choice import Choice
from rowmill.cli.figures import count, plural
from rowmill.cli.output import say, stdout_kept_for_data, write_exactly
from rowmill.cli.parameters import set_option
from rowmill.cli.place import is_run_database
from rowmill.cli.terminal_text import escaped

if TYPE_CHECKING:
    from rowmill.engine.model_check import CheckedModel, ToCheck


class CheckFormat(StrEnum):
    """How what was found is written to stdout."""

    TEXT = "text"
    JSON = "json"


@click.command()
@click.argument("spec", type=click.Path(path_type=Path), required=False, default=None, metavar="[SPEC|DATABASE]")
@click.option("--quick", is_flag=True, help="One request each: reach and latency alone.")
@click.option(
    "--format",
    "output_format",
    type=Choice(CheckFormat, case_sensitive=False),
    default=CheckFormat.TEXT.value,
    show_default=True,
    help="How to write what was found.",
)
@set_option
@click.pass_context
def command(
    context: click.Context, spec: Path | None, quick: bool, output_format: CheckFormat, parameters: dict[str, str]
) -> None:
    """Try each model of a spec, or of your own models.yaml: is it reachable, how quick, what does it take, what limits?

    At most four small requests to each model: one token, a schema, a tool, a picture to look at. Ends with 0 if all
    can be used, with 1 if not.

    \b
    Example:
      rowmill check-models spec.yaml
      rowmill check-models spec.yaml --quick --format json
    """
    import os
    from functools import partial

    from rowmill.engine.event_loop import run_on_event_loop
    from rowmill.engine.model_check import check_each
    from rowmill.providers.key_ring import KeyRing

    with stdout_kept_for_data():
        models, uses, directory = _models(spec, parameters)
        keys = KeyRing(os.environ, directory)
        checked = run_on_event_loop(partial(check_each, models, uses, keys, quick=quick))
    if output_format is CheckFormat.JSON:
        write_exactly(json.dumps([each.as_json() for each in checked], indent=2, ensure_ascii=True) + "\n")
    else:
        for each in checked:
            print_checked(each)
        if not checked:
            say("There is no model to check.")
    context.exit(0 if all(each.usable for each in checked) else 1)


def _models(spec: Path | None, parameters: dict[str, str]) -> ToCheck:
    from rowmill.engine.model_check import ToCheck, models_to_check, own_models_to_check
    from rowmill.engine.preparation import prepare
    from rowmill.spec.loading import load_spec

    if spec is None:
        return own_models_to_check()
    if is_run_database(spec):
        from rowmill.cli.place import existing_database
        from rowmill.engine.reopening import prepare_inside

        return models_to_check(prepare_inside(existing_database(spec)))
    loaded = load_spec(spec, parameters)
    if not loaded.spec.columns:
        return ToCheck(loaded.spec.models, {}, loaded.directory)
    return models_to_check(prepare(loaded))


def print_checked(checked: CheckedModel) -> None:
    """Prints one model: what it is, whether it can be used, and what it takes."""
    where = f" at {checked.base_url}" if checked.base_url else ""
    if checked.usable:
        state = "can be used"
    elif checked.reachable:
        state = "reachable, but not usable"
    else:
        state = "not reachable" if checked.tried else "not tried"
    latency = f", one token in {count(round(checked.latency_ms))} ms" if checked.latency_ms is not None else ""
    say(escaped(f"{checked.alias}: {checked.provider}/{checked.model}{where}: {state}{latency}"))
    if checked.problem:
        say(escaped(f"  {checked.problem}"))
    taken = {"a schema": checked.schema, "tools": checked.tools, "pictures": checked.pictures}
    told = [f"{what} {how}" for what, how in taken.items() if how != "not asked"]
    if told:
        say(f"  takes: {', '.join(told)}")
    limits = [f"{name} {value}" for name, value in checked.limits.items()]
    if checked.context_tokens is not None:
        limits.insert(0, f"context {plural(checked.context_tokens, 'token')}")
    if limits:
        say(escaped(f"  limits: {'; '.join(limits)}"))
