"""Writes the parts of the help pages that are made from the source.

.venv/bin/python tools/help_pages.py            says which pages are out of date
.venv/bin/python tools/help_pages.py --write    writes them

A part stands between ``<!-- made: NAME -->`` and ``<!-- end -->``; what is outside of the marks is written by hand.

- ``fields CLASS without BASE …``: the fields of a part of the spec, from its model: types and defaults from pydantic,
  meanings from the docstrings beneath the fields; what the classes after ``without`` have is left out.
- ``commands``: the commands with their options, and ``options COMMAND``: only these, from click.
- ``views``: the public views and their columns, from the comments in sql/views/.
- ``metrics``: the metrics and their labels, from their table.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from rowmill.cli.main import COMMANDS
from rowmill.cli.main import rowmill as group
from rowmill.metrics.table import METRICS
from rowmill.spec.column import StrictModel
from rowmill.spec.description import descriptions
from rowmill.spec.json_schema import model_schemas, spec_models

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = REPOSITORY / "src" / "rowmill" / "help"

PART = re.compile(r"<!-- made: ([^>]+?) -->\n.*?<!-- end -->", re.DOTALL)
_VIEW = re.compile(r"^comment on view main\.(\w+) is '((?:[^']|'')*)';$", re.MULTILINE)
_COLUMN = re.compile(r"^comment on column main\.(\w+)\.\"?(\w+)\"? is '((?:[^']|'')*)';$", re.MULTILINE)
_RULE = re.compile(r"\b([RSFCAKPVTWOD]\d+[a-z]?)\b(?=[,)])")
_DEFAULT = re.compile(r" ?Default: (.*)\.$")
_MOST_CHOICES = 8
"""Of a field that may be one of more texts, its description lists them."""
_NOUNS = {"string": "text", "integer": "int", "number": "number", "boolean": "bool", "object": "mapping"}
_OF_ALL_COMMANDS = {"verbose", "quiet", "log_format", "help"}


def made(page: str) -> str:
    """The page with every made part as the source has it now."""

    def part(match: re.Match[str]) -> str:
        kind, *words = match[1].split()
        return f"<!-- made: {match[1]} -->\n\n{_MAKERS[kind](words)}\n\n<!-- end -->"

    return PART.sub(part, page)


def parts(kind: str) -> Iterator[list[str]]:
    """The words after ``kind`` of every such part, over all pages."""
    for path in sorted(PAGES.glob("*.md")):
        for name in PART.findall(path.read_text(encoding="utf-8")):
            first, *words = name.split()
            if first == kind:
                yield words


def models() -> dict[str, type[BaseModel]]:
    """Every class that fields of a spec belong to, bases and inner parts included, by name."""
    found: dict[str, type[BaseModel]] = {}
    # Without what plug-ins bring that happen to be installed.
    open_classes = [cls for cls in spec_models() if cls.__module__.startswith("rowmill.")]
    while open_classes:
        cls = open_classes.pop()
        if cls.__name__ not in found and issubclass(cls, StrictModel) and cls is not StrictModel:
            found[cls.__name__] = cls
            open_classes += [base for base in cls.__mro__ if issubclass(base, BaseModel)]
            open_classes += [inner for field in cls.model_fields.values() for inner in _classes_in(field.annotation)]
    return found


def _classes_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _classes_in(inner)


def shown_fields(words: list[str]) -> tuple[str, list[str]]:
    """The class of a ``fields`` part, and which of its fields it shows."""
    name, bases = words[0], words[2:]
    cls = models()[name]
    hidden = {field for base in bases for field in models()[base].model_fields}
    # Of one type, the field that names it can have one value: the heading.
    named = {
        field
        for field in ("column_type", "processor_type", "kind")
        if "const" in _schemas()[name]["properties"].get(field, {})
    }
    return name, [field for field in cls.model_fields if field not in hidden | named]


_CACHE: dict[str, dict[str, Any]] = {}


def _schemas() -> dict[str, Any]:
    if not _CACHE:
        _CACHE.update(model_schemas(models().values()))
    return _CACHE


def _fields(words: list[str]) -> str:
    name, fields = shown_fields(words)
    schema = _schemas()[name]
    meanings = descriptions(models()[name])
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field in fields:
        shape = schema["properties"][field]
        meaning, default = _split(meanings[field])
        if field in schema.get("required", ()):
            default = ""
        elif default is None:
            default = _default(shape)
        rows.append(_row(f"`{field}`", _type(shape), default, meaning))
    return "\n".join(rows)


def _split(text: str) -> tuple[str, str | None]:
    """A description and the default it names, if it does."""
    found = _DEFAULT.search(text)
    linked = _RULE.sub(lambda rule: f"[{rule[1]}](rules.md#{rule[1].lower()})", _DEFAULT.sub("", text))
    return linked, found[1] if found else None


def _row(*cells: str) -> str:
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in cells) + " |"


def _type(shape: dict[str, Any]) -> str:
    if "anyOf" in shape:
        kinds = dict.fromkeys(_type(each) for each in shape["anyOf"] if each.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in shape:
        is_long = len(shape["enum"]) > _MOST_CHOICES
        return "text" if is_long else ", ".join(f"`{json.dumps(each).strip(chr(34))}`" for each in shape["enum"])
    if "const" in shape:
        return f"`{shape['const']}`"
    if "allOf" in shape:
        return _type(shape["allOf"][0])
    if "$ref" in shape:
        return "any" if shape["$ref"] == "#/$defs/JsonValue" else "mapping"
    if shape.get("type") == "array":
        return f"list of {_plural(shape.get('items', {}))}"
    return _NOUNS.get(shape.get("type", ""), "any")


def _plural(shape: dict[str, Any]) -> str:
    kind = _type(shape)
    return {"text": "texts", "int": "ints", "number": "numbers", "mapping": "mappings", "any": "values"}.get(kind, kind)


def _default(shape: dict[str, Any]) -> str:
    default = shape.get("default")
    if isinstance(default, dict) and default:
        return "all defaults"
    if default is None:
        return "none" if "default" in shape else "all defaults" if "allOf" in shape or "$ref" in shape else "`{}`"
    number = int(default) if isinstance(default, float) and default == int(default) else default
    return f"`{number if isinstance(number, str) else json.dumps(number)}`"


def _commands(_words: list[str]) -> str:
    listed = ["| command | does |", "|---|---|"]
    sections = []
    context = click.Context(group, info_name="rowmill", **group.context_settings)
    for name, (_, line) in COMMANDS.items():
        command = group.get_command(context, name)
        assert command is not None
        listed.append(_row(f"[`{name}`](#{name})", line))
        own = click.Context(command, info_name=name, parent=context)
        usage = " ".join([f"rowmill {name}", *command.collect_usage_pieces(own)])
        said, _, example = inspect.cleandoc(str(command.help)).partition("\b\nExample:\n")
        example = "\n".join(text.strip() for text in example.strip().splitlines())
        paragraphs = [" ".join(paragraph.split()) for paragraph in said.strip().split("\n\n")]
        sections += [f"## {name}", f"`{usage}`", *paragraphs, f"```sh\n{example}\n```", _options_of(command, own)]
    return "\n\n".join(["\n".join(listed), *filter(None, sections)])


def _options(names: list[str]) -> str:
    context = click.Context(group, info_name="rowmill", **group.context_settings)
    commands = [group.get_command(context, name) for name in names]
    return "\n\n".join(_options_of(command, context) for command in commands if command is not None)


def _options_of(command: click.Command, context: click.Context) -> str:
    rows = []
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in _OF_ALL_COMMANDS and not option.hidden:
            required = " Required." if option.required else ""
            rows.append(_row(f"`{_flags(option, context)}`", f"{option.help}{required}{_shown_default(option)}"))
    return "\n".join(["| option | does |", "|---|---|", *rows]) if rows else ""


def _flags(option: click.Option, context: click.Context) -> str:
    """As it is typed. Not click's own record of an option: its text differs between versions."""
    takes = "" if option.is_flag or option.count else f" {option.make_metavar(context)}"
    return ", ".join(sorted(option.opts, key=len)) + takes


def _shown_default(option: click.Option) -> str:
    default = option.default
    if not option.show_default or default is None or option.is_flag:
        return ""
    return f" Default: `{getattr(default, 'value', default)}`."


def _views(_words: list[str]) -> str:
    text = "".join(file.read_text(encoding="utf-8") for file in sorted((REPOSITORY / "sql" / "views").glob("*.sql")))
    columns: dict[str, list[tuple[str, str]]] = {}
    for view, column, meaning in _COLUMN.findall(text):
        columns.setdefault(view, []).append((column, meaning.replace("''", "'")))
    shown = []
    for view, meaning in _VIEW.findall(text):
        shown.append(f"## {view}\n\n{meaning.replace(chr(39) * 2, chr(39))}\n")
        shown.append("| column | meaning |\n|---|---|")
        shown += [_row(f"`{column}`", text) for column, text in columns.get(view, [])]
        shown.append("")
    return "\n".join(shown).strip()


def _metrics(_words: list[str]) -> str:
    lines = [_row("metric", "kind", "labels", "meaning"), "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(_row(f"`{metric.exposed}`", metric.kind, labels, metric.meaning))
    return "\n".join(lines)


_MAKERS = {"fields": _fields, "commands": _commands, "options": _options, "views": _views, "metrics": _metrics}


def main() -> None:
    """Writes what is out of date, or names it."""
    for path in sorted(PAGES.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        current = made(page)
        if current != page:
            if "--write" in sys.argv[1:]:
                path.write_text(current, encoding="utf-8")
            print(path.name, "written" if "--write" in sys.argv[1:] else "out of date")


if __name__ == "__main__":
    main()
