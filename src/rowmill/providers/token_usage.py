"""Counts of tokens as endpoints send them: bounded here, so that nothing an endpoint says can break a sum. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from rowmill.errors import ProviderError

MOST_TOKENS: Final = 1_000_000_000
"""Of one request. What says more counts as 0 and is noted: sums stay far from the end of 64 bits."""


class TokenUsage(NamedTuple):
    """What a request used."""

    input_tokens: int = 0
    output_tokens: int = 0
    note: str | None = None
    """What of it could not be believed."""
    cached_tokens: int = 0
    """Those of the input that the server had in its cache."""
    cache_write_tokens: int = 0
    """Those of the input that it wrote into its cache."""

    def note_on(self, error: ProviderError) -> None:
        """Says of an error what its request used all the same."""
        error.input_tokens, error.output_tokens, error.note = self.input_tokens, self.output_tokens, self.note
        error.cached_tokens, error.cache_write_tokens = self.cached_tokens, self.cache_write_tokens


def token_usage(usage: Any, input_names: Sequence[str], output_names: Sequence[str]) -> TokenUsage:
    """The sum of some fields of an answer's ``usage``; a field that is missing or null counts nothing.

    Whole numbers may be written as ``12.0`` or ``"12"``. Anything else counts as 0 and is noted.
    """
    if type(usage) is not dict:
        return TokenUsage()
    doubtful: list[str] = []

    def total(names: Sequence[str]) -> int:
        found = 0
        for name in names:
            value = usage.get(name)
            if type(value) is int and 0 <= value <= MOST_TOKENS:
                found += value
            elif value is not None:
                count = _count(value)
                found += count or 0
                if count is None:
                    doubtful.append(f"{name} {str(value)[:40] if type(value) is not int else _short(value)}")
        if found > MOST_TOKENS:
            doubtful.append(f"{' + '.join(names)} {found}")
            return 0
        return found

    input_tokens, output_tokens = total(input_names), total(output_names)
    cached, written = (_part(usage, paths, input_tokens) for paths in (_CACHED, _WRITTEN))
    if cached + written > input_tokens:
        cached = written = 0  # an account that does not add up lowers no price
    note = f"Counted as 0, as no count of tokens: {', '.join(doubtful)}." if doubtful else None
    return TokenUsage(input_tokens, output_tokens, note, cached, written)


def _part(usage: dict[str, Any], paths: Sequence[tuple[str, ...]], whole: int) -> int:
    """How many of the input tokens, at the first of these places that says so; never more than all."""
    for path in paths:
        value: Any = usage
        for name in path:
            value = value.get(name) if type(value) is dict else None
        if value is not None and (count := _count(value)) is not None:
            return min(count, whole)
    return 0


_CACHED = (
    ("prompt_tokens_details", "cached_tokens"),  # OpenAI, vLLM, OpenRouter
    ("input_tokens_details", "cached_tokens"),
    ("cache_read_input_tokens",),  # Anthropic
    ("prompt_cache_hit_tokens",),  # DeepSeek
    ("cached_tokens",),  # Moonshot
    ("cache_n",),  # llama.cpp
)
_WRITTEN = (("cache_creation_input_tokens",), ("prompt_tokens_details", "cache_write_tokens"))


def estimated_tokens(text: str) -> int:
    """About how many tokens a text takes: one for each four bytes, as common tokenizers give for English."""
    return (len(text.encode("utf-8", "replace")) + 3) // 4


def _count(value: Any) -> int | None:
    if type(value) is str and value.strip().isascii() and value.strip().isdigit() and len(value) < 20:
        value = int(value)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**30 else f"of {value.bit_length()} bits"
