"""``rowmill help``: the reference, page by page and entry by entry."""

from __future__ import annotations

import shutil
import sys

import click
from click.shell_completion import CompletionItem

from rowmill.cli.help_page import TOPICS, entry_names, field_names, find, readable, source, topic_of
from rowmill.cli.output import write_exactly
from rowmill.errors import UsageError
from rowmill.spec.nearest import did_you_mean, nearest

_WIDEST = 110


def _complete_topic(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(topic, help=line) for topic, line in TOPICS.items() if topic.startswith(typed)]


def _complete_entry(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    topic = topic_of(context.params.get("topic") or "")
    names = entry_names(source(topic)) if topic else []
    return [CompletionItem(name) for name in names if name.startswith(typed)]


@click.command()
@click.argument("topic", required=False, shell_complete=_complete_topic)
@click.argument("entry", nargs=-1, shell_complete=_complete_entry)
@click.option("--agents", is_flag=True, help="One page for a coding agent: how to write, check, run and mend a spec.")
def command(topic: str | None, entry: tuple[str, ...], agents: bool) -> None:
    """Show a page of the reference, or an ENTRY of it: a heading, a field, a view, a column type, a rule.

    Without TOPIC: the list of topics. Through a pager on a terminal.

    \b
    Example:
      rowmill help
      rowmill help columns llm-judge
      rowmill help views attempt
      rowmill help --agents
    """
    if agents:
        if topic is not None:
            raise UsageError("--agents is a page of its own; leave TOPIC out.")
        write_exactly(source("agents"))
        return
    if topic is None:
        width = max(map(len, TOPICS))
        lines = [f"{name.ljust(width)}  {line}" for name, line in TOPICS.items()]
        write_exactly(
            "\n".join([*lines, "", "One page: rowmill help TOPIC. A part of it: rowmill help TOPIC ENTRY.", ""])
        )
        return
    known = topic_of(topic)
    if known is None:
        raise UsageError(_unknown_topic(topic))
    page = source(known)
    _show(readable(page if not entry else _entry(known, page, " ".join(entry))))


def _entry(topic: str, page: str, name: str) -> str:
    found = find(page, name)
    if found is None:
        names = entry_names(page)
        hint = did_you_mean(name, [*names, *field_names(page)])
        listed = f" It has: {', '.join(names)}." if names else f" 'rowmill help {topic}' shows it whole."
        raise UsageError(f"The page '{topic}' has no entry '{name[:100]}'.{hint}{listed}")
    return found


def _unknown_topic(name: str) -> str:
    meant = next((f"{topic} {name}" for topic in TOPICS if find(source(topic), name) is not None), None)
    if meant is None:
        entries = {entry: f"{topic} {entry}" for topic in reversed(TOPICS) for entry in entry_names(source(topic))}
        known = entries | {topic: topic for topic in TOPICS}
        near = nearest(name, known)
        meant = known[near] if near is not None else None
    hint = f" Did you mean 'rowmill help {meant}'?" if meant is not None else ""
    return f"There is no help topic '{name[:100]}'.{hint} Topics: {', '.join(TOPICS)}."


def _show(markdown: str) -> None:
    """Markdown as it is where it is not read on a terminal; laid out there, and in a pager if it is longer."""
    if not sys.stdout.isatty():
        write_exactly(markdown)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    size = shutil.get_terminal_size()
    console = Console(width=min(size.columns, _WIDEST), force_terminal=True)
    with console.capture() as capture:
        console.print(Markdown(markdown, hyperlinks=False))
    text = capture.get()
    if text.count("\n") < size.lines:
        write_exactly(text)
    else:
        click.echo_via_pager(text)
