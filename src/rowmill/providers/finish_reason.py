"""What an answer ended for, in one spelling for all dialects. No I/O."""

from __future__ import annotations

import re
from typing import Any, Final

STOP: Final = "stop"
"""By itself: it is whole."""
LENGTH: Final = "length"
"""At a limit of its length: a part is missing (V7)."""
CONTENT_FILTER: Final = "content_filter"
"""The model or a filter refused to go on."""
ERROR: Final = "error"
"""It was broken off: a part is missing, and asking again may bring it."""

_SPELLINGS: Final = {
    STOP: "stop end_turn stop_sequence eos eos_token complete completed finished end done finish_reason_stop",
    LENGTH: "length max_tokens model_length max_length max_output_tokens max_completion_tokens max_new_tokens"
    " max_token token_limit token_limit_reached tokens_limit output_limit incomplete truncated context_length"
    " context_length_exceeded context_window_exceeded model_context_window_exceeded model_context_length"
    " finish_reason_max_tokens length_limit max_tokens_reached limit"
    " max_tokens_exceeded max_context context_window context total_tokens time_limit not_finished partial"
    " repetition_truncation",
    CONTENT_FILTER: "content_filter content_filtered refusal refused safety recitation prohibited_content blocklist"
    " spii image_safety language guardrail_intervened guardrails sensitive moderation content_policy_violation"
    " error_toxic finish_reason_safety"
    " blocked flagged image_prohibited_content image_recitation",
    ERROR: "error abort aborted cancelled canceled failed network_error insufficient_system_resource"
    " malformed_function_call internal_error pause_turn error_limit unexpected_tool_call"
    " timeout timed_out deadline deadline_exceeded user_cancelled server_error malformed_response"
    " malformed_model_output malformed_tool_use too_many_tool_calls missing_thought_signature",
}
_KNOWN: Final = {spelling: reason for reason, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_LONGEST: Final = 60


def finish_reason(value: Any) -> str | None:
    """One of the reasons above, or what the endpoint called it; None if it does not say."""
    if type(value) is not str or not value:
        return None
    known = _KNOWN.get(value)
    if known is not None:
        return known
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s\-.]+", "_", value.strip()[:_LONGEST]).lower()
    return _KNOWN.get(words) or re.sub(r"[^\x20-\x7e]", "?", value.strip()[:_LONGEST]) or None
