"""Writes the parts of the help pages that are made from the source: views from the comments in sql/views/.

.venv/bin/python tools/help_pages.py            says which pages are out of date
.venv/bin/python tools/help_pages.py --write    writes them

A part stands between ``<!-- made: NAME -->`` and ``<!-- end -->``; what is outside of the marks is written by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = REPOSITORY / "src" / "rowmill" / "help"

_PART = re.compile(r"<!-- made: ([^>]+?) -->\n.*?<!-- end -->", re.DOTALL)
_VIEW = re.compile(r"^comment on view main\.(\w+) is '((?:[^']|'')*)';$", re.MULTILINE)
_COLUMN = re.compile(r"^comment on column main\.(\w+)\.\"?(\w+)\"? is '((?:[^']|'')*)';$", re.MULTILINE)


def views() -> str:
    """The public views: per view one line on it and one line a column."""
    text = "".join(file.read_text(encoding="utf-8") for file in sorted((REPOSITORY / "sql" / "views").glob("*.sql")))
    columns: dict[str, list[tuple[str, str]]] = {}
    for view, column, meaning in _COLUMN.findall(text):
        columns.setdefault(view, []).append((column, meaning.replace("''", "'")))
    parts = []
    for view, meaning in _VIEW.findall(text):
        parts.append(f"## {view}\n\n{meaning.replace(chr(39) * 2, chr(39))}\n")
        parts.append("| column | meaning |\n|---|---|")
        parts += [f"| `{column}` | {text.replace('|', chr(92) + '|')} |" for column, text in columns.get(view, [])]
        parts.append("")
    return "\n".join(parts).strip()


_MAKERS = {"views": views}


def made(page: str) -> str:
    """The page with every made part as the source has it now."""

    def part(match: re.Match[str]) -> str:
        return f"<!-- made: {match[1]} -->\n\n{_MAKERS[match[1]]()}\n\n<!-- end -->"

    return _PART.sub(part, page)


def main() -> None:
    """Writes what is out of date, or names it."""
    for path in sorted(PAGES.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if made(page) != page:
            if "--write" in sys.argv[1:]:
                path.write_text(made(page), encoding="utf-8")
            print(path.name, "written" if "--write" in sys.argv[1:] else "out of date")


if __name__ == "__main__":
    main()
