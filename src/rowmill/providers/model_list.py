"""What an endpoint lists of a model at ``/models``: its limits, under the names servers have for them. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_CONTEXT_FIELDS = (
    "max_model_len",  # vLLM
    "n_ctx",  # llama.cpp, below "meta"
    "context_length",  # OpenRouter, Together
    "context_window",  # Groq
    "max_context_length",  # Mistral, LM Studio
    "max_input_tokens",  # Anthropic, LiteLLM
    "n_ctx_train",
)


def described(payload: bytes | None, model: str) -> Mapping[str, Any]:
    """``known`` (whether the model is listed), ``models`` (how many are) and ``context_tokens``, as far as told."""
    try:
        document = json.loads(payload or b"")
    except (ValueError, RecursionError):
        return {}
    listed = document.get("data") if isinstance(document, dict) else document
    if not isinstance(listed, list):
        return {}
    entries = [entry for entry in listed if isinstance(entry, dict)]
    entry = next((each for each in entries if model in (each.get("id"), each.get("name"))), None)
    found: dict[str, Any] = {"known": entry is not None, "models": len(entries)}
    if entry is not None:
        meta = entry.get("meta")
        fields = {**(meta if isinstance(meta, dict) else {}), **entry}
        context = next((fields[name] for name in _CONTEXT_FIELDS if type(fields.get(name)) is int), None)
        if context is not None:
            found["context_tokens"] = context
    return found
