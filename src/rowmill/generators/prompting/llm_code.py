"""Columns of type ``llm-code``: code a model writes from a prompt, without the words around it."""

from __future__ import annotations

from functools import partial
from typing import Literal

from rowmill.generators.prompting.answer_text import code_block
from rowmill.generators.prompting.conversation import AnswerReader
from rowmill.generators.prompting.prompt_column import FormattedColumn
from rowmill.spec.model import ModelConfig
from rowmill.spec.registry import register_column_type

CodeLanguage = Literal[
    "bash",
    "c",
    "cobol",
    "cpp",
    "csharp",
    "go",
    "java",
    "javascript",
    "kotlin",
    "python",
    "ruby",
    "rust",
    "scala",
    "swift",
    "typescript",
    "sql:sqlite",
    "sql:tsql",
    "sql:bigquery",
    "sql:mysql",
    "sql:postgres",
    "sql:ansi",
]

_NAMES = {
    "bash": "Bash",
    "c": "C",
    "cobol": "COBOL",
    "cpp": "C++",
    "csharp": "C#",
    "javascript": "JavaScript",
    "typescript": "TypeScript",
    "sql:sqlite": "SQL (SQLite)",
    "sql:tsql": "SQL (T-SQL)",
    "sql:bigquery": "SQL (BigQuery)",
    "sql:mysql": "SQL (MySQL)",
    "sql:postgres": "SQL (PostgreSQL)",
    "sql:ansi": "SQL (ANSI)",
}
_OTHER_LABELS = {
    "bash": ("sh", "shell", "shell-script", "zsh", "console"),
    "cobol": ("cbl",),
    "cpp": ("c++", "cc", "cxx"),
    "csharp": ("c#", "cs"),
    "go": ("golang",),
    "javascript": ("js", "jsx", "node", "mjs"),
    "kotlin": ("kt", "kts"),
    "python": ("py", "python3"),
    "ruby": ("rb",),
    "rust": ("rs",),
    "typescript": ("ts", "tsx"),
    "sql": ("sqlite", "tsql", "t-sql", "bigquery", "mysql", "postgres", "postgresql", "plpgsql"),
}
"""What models write at a fence beside the language's own name."""


@register_column_type
class LlmCodeColumn(FormattedColumn):
    """The code in the answer of a model: what stands in its fenced block."""

    column_type: Literal["llm-code"] = "llm-code"
    code_lang: CodeLanguage
    """``bash``, ``c``, ``cobol``, ``cpp``, ``csharp``, ``go``, ``java``, ``javascript``, ``kotlin``, ``python``,
    ``ruby``, ``rust``, ``scala``, ``swift``, ``typescript``, or ``sql:`` and ``ansi``, ``bigquery``, ``mysql``,
    ``postgres``, ``sqlite``, ``tsql``. The value is the first fenced block of that language, else the first without a
    label; an answer without a fence is never taken for code."""

    @property
    def _label(self) -> str:
        return self.code_lang.partition(":")[0]

    @property
    def _language(self) -> str:
        return _NAMES.get(self.code_lang, self.code_lang.capitalize())

    def _reader(self) -> AnswerReader:
        labels = frozenset({self._label, self.code_lang, *_OTHER_LABELS.get(self._label, ())})
        return partial(code_block, labels=labels, language=self._language)

    def _instruction(self, model: ModelConfig) -> str:
        return (
            f"\n\nAnswer with {self._language} code in exactly one fenced block and no other fenced blocks:\n"
            f"```{self._label}\n…\n```"
        )
