"""Other words: what other tools call something that has another name here, and where it is found.

For messages about a name that does not exist and is like none that does.
"""

from __future__ import annotations

_FILTER = (
    " Rows are left out by a column of column_type select, by a validation column with on_invalid: drop, and on their"
    " way out by 'rowmill export --where': 'rowmill help columns filter'."
)
_DEDUPLICATE = " Did you mean 'deduplicate'?"
_LLM_TEXT = " Did you mean 'llm-text'?"
_CUSTOM = " Did you mean 'custom'?"
_EXPRESSION = " Did you mean 'expression'?"
_RANK = " Did you mean 'rank'?"

_COLUMN_TYPES = {
    **dict.fromkeys(("filter", "filters", "where", "condition", "drop", "drop_rows", "drop-rows"), _FILTER),
    **dict.fromkeys(("dedup", "dedupe", "distinct", "unique"), _DEDUPLICATE),
    **dict.fromkeys(("llm", "text", "chat", "prompt", "completion", "generate"), _LLM_TEXT),
    **dict.fromkeys(("python", "function", "lambda", "map", "code"), _CUSTOM),
    **dict.fromkeys(("sql", "jinja", "formula", "template", "computed"), _EXPRESSION),
    **dict.fromkeys(("sort", "order", "order_by", "order-by"), _RANK),
}
_FIELDS = {
    **dict.fromkeys(("filter", "filters", "where", "filter_by", "having"), _FILTER),
    "when": " Of a column that is not made for every row it stands in skip: 'skip: {when: …}'.",
    "if": " A column that is not made for every row says so with 'skip: {when: …}'.",
}


def other_word_for_type(noun: str, name: str) -> str:
    """A sentence on what is meant by a type of that kind (``column type``), beginning with a blank; or nothing."""
    if noun != "column type":
        return ""
    from rowmill.spec.registry import SAMPLERS

    folded = name.casefold()
    if folded in SAMPLERS.built_in:
        return f" '{folded}' is a sampler: 'column_type: sampler, sampler_type: {folded}'."
    return _COLUMN_TYPES.get(folded, "")


def other_word_for_field(name: str) -> str:
    """A sentence on what is meant by a field of that name, beginning with a blank; or nothing."""
    return _FIELDS.get(name.casefold(), "")
