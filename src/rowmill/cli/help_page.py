"""The pages of ``rowmill help``: Markdown under ``rowmill/help``, cut into the entries that can be asked for by name.

An entry is a heading, or a row of a table whose first cell is a name in code: a field, a column of a view, a command.
Names are compared without case, and as if ``-``, ``_`` and spaces were the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

TOPICS = {
    "spec": "What a run shall make: the spec, field by field.",
    "models": "Servers of models: keys, limits, prices, parameters.",
    "seeds": "Rows to start from: files, the hub, directories, recorded sessions.",
    "columns": "Every type of column, and columns over the whole dataset.",
    "samplers": "Random values, and constraints on them.",
    "functions": "Python functions of your own.",
    "values": "What a value is in Python, prompts and files, and what fits a column.",
    "tools": "MCP tools that models may call.",
    "processors": "Other shapes of the finished rows, splits, columns left out.",
    "trust": "What a spec of somebody else can do, and what runs when.",
    "plugins": "Column types, samplers and more that packages bring.",
    "running": "Run settings, exit codes, days on a server.",
    "scaling": "More processes, a Ray cluster, shards; crashes that cost a row.",
    "commands": "Every command, logs, completion.",
    "looking": "Status, SQL and listings, also beside a living run.",
    "ui": "A run in a browser: progress, rows with their prompts, SQL, a fork beside its parent.",
    "monitoring": "Prometheus, Grafana and OpenTelemetry.",
    "steering": "Pauses, limits, drops, stops.",
    "failures": "What happens when a call fails.",
    "changing": "Another prompt, more rows, second chances.",
    "repair": "Damaged files, and files of an older Rowmill.",
    "export": "Files and directories made from the dataset.",
    "python": "The same from Python, and in notebooks.",
    "views": "Every public view and its columns.",
    "rules": "What a run does, exactly: every rule by its number.",
    "agents": "One page for coding agents: write, check, run, mend.",
    "datadesigner": "Coming from NeMo DataDesigner.",
}
"""Topic → what its page is about. The page is ``rowmill/help/TOPIC.md``."""

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^<!--.*?-->\n+", re.MULTILINE | re.DOTALL)
_IMAGE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n+", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\((?:([\w-]+)\.md)?(#[\w-]+)?\)")
_FILE_LINK = re.compile(r"\[([^\]]+)\]\(\.\.?/[^)]*\)")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_TABLE = re.compile(r"^\|.*\|\n\|[-|: ]+\|\n((?:\|.*\|(?:\n|\Z))+)", re.MULTILINE)
_NAME = re.compile(r"`([A-Za-z][\w.:-]*)[^`]*`")


@dataclass(frozen=True)
class Entry:
    """A part of a page and the names it goes by."""

    names: tuple[str, ...]
    text: str


def folded(name: str) -> str:
    """The name as it is compared."""
    return re.sub(r"[\s_-]+", "-", name.strip().casefold().replace("`", ""))


def topic_of(name: str) -> str | None:
    """The topic of that name: ``plug-ins`` is ``plugins``."""
    wanted = folded(name).replace("-", "")
    return next((topic for topic in TOPICS if topic.replace("-", "") == wanted), None)


def source(topic: str) -> str:
    """The page as it is written."""
    return (files("rowmill") / "help" / f"{topic}.md").read_text(encoding="utf-8")


def readable(markdown: str) -> str:
    """The Markdown for a reader without links: marks and pictures left out, links as what to type."""

    def typed(match: re.Match[str]) -> str:
        text, topic, _ = match.groups()
        return text if topic in (None, "rules") else f"{text} (`rowmill help {topic}`)"

    plain = _IMAGE.sub("", _COMMENT.sub("", markdown))
    return _FILE_LINK.sub(r"\1", _LINK.sub(typed, plain)).strip() + "\n"


def entry_names(page: str) -> list[str]:
    """The names of the sections of a page, as they are typed; its title is none."""
    return [name for section in list(_sections(page))[1:] for name in section.names]


def field_names(page: str) -> list[str]:
    """The names in the first cells of the tables of a page."""
    return [name for section in _sections(page) for row in _rows(section) for name in row.names]


def find(page: str, name: str) -> str | None:
    """The section that goes by that name, else the rows of tables that do; None if none does."""
    wanted = folded(name)
    sections = list(_sections(page))
    for section in sections:
        if wanted in map(folded, section.names):
            return section.text
    rows = [row.text for section in sections for row in _rows(section) if wanted in map(folded, row.names)]
    return "\n".join(rows) or None


def _sections(page: str) -> Iterator[Entry]:
    """Each heading with what stands under it, lower headings included."""
    # Blanked, not removed: positions stay, and a comment in a block of code is no heading.
    hidden = _FENCED.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), page)
    headings = list(_HEADING.finditer(hidden))
    for index, heading in enumerate(headings):
        end = next((each.start() for each in headings[index + 1 :] if len(each[1]) <= len(heading[1])), len(page))
        title = heading[2].replace("`", "")
        yield Entry(tuple(title.split(", ")), page[heading.start() : end].rstrip() + "\n")


def _rows(section: Entry) -> Iterator[Entry]:
    """The rows of the tables directly in a section, each with the heading of the section and of its table."""
    title, _, body = section.text.partition("\n")
    for table in _TABLE.finditer(re.split(r"^#+ ", body, maxsplit=1, flags=re.MULTILINE)[0]):
        head = "\n".join(table[0].split("\n")[:2])
        for row in table[1].strip().split("\n"):
            names = tuple(_NAME.findall(re.split(r"(?<!\\)\|", row)[1]))
            if names:
                yield Entry(names, f"{title}\n\n{head}\n{row}\n")
