"""Prints the README's reference of the public views, made from the comments in sql/views/.

.venv/bin/python tools/view_reference.py            prints it
.venv/bin/python tools/view_reference.py --write    puts it into README.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
START, END = "<!-- views: tools/view_reference.py --write -->", "<!-- end of views -->"

_VIEW = re.compile(r"^comment on view main\.(\w+) is '((?:[^']|'')*)';$", re.MULTILINE)
_COLUMN = re.compile(r"^comment on column main\.(\w+)\.\"?(\w+)\"? is '((?:[^']|'')*)';$", re.MULTILINE)


def reference() -> str:
    """The reference as Markdown: per view one line on it and one line a column."""
    text = "".join(file.read_text(encoding="utf-8") for file in sorted((REPOSITORY / "sql" / "views").glob("*.sql")))
    columns: dict[str, list[tuple[str, str]]] = {}
    for view, column, meaning in _COLUMN.findall(text):
        columns.setdefault(view, []).append((column, meaning.replace("''", "'")))
    parts = []
    for view, meaning in _VIEW.findall(text):
        parts.append(f"**`{view}`** – {meaning.replace(chr(39) * 2, chr(39))}\n")
        parts.append("| column | meaning |\n|---|---|")
        parts += [f"| `{column}` | {text.replace('|', chr(92) + '|')} |" for column, text in columns.get(view, [])]
        parts.append("")
    return "\n".join(parts).strip()


def written_reference() -> str:
    """The reference as it stands in the README."""
    return README.read_text(encoding="utf-8").partition(START)[2].partition(END)[0].strip()


def main() -> None:
    """Prints the reference, or writes it between its marks in the README."""
    if "--write" not in sys.argv[1:]:
        print(reference())
        return
    before, _, rest = README.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{START}\n\n{reference()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
