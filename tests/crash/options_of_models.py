"""Models and their tools as options."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from option import RUN, SCHEMA, Option, chat, expression, text

TOOL_SERVER = Path(__file__).resolve().parent.parent / "tool_server.py"
_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()


def _inference(**parameters: Any) -> Option:
    return text({"inference_parameters": parameters})


def _embedding(**parameters: Any) -> Option:
    made = {"column_type": "embedding", "target_column": "id", "model_alias": "model", "max_rows_per_call": 2}
    return Option(made, model={"inference_parameters": parameters}, requests=1)


def _seen(modality: str, data_type: str, media_format: str) -> Option:
    """A chat that shows something of each row: a URL, or base64 of the row's own text."""
    url, content = f"'http://127.0.0.1/' || id || '.{media_format}'", "to_base64(id::blob)"
    if modality == "image" and data_type == "base64":
        content = f"'{_PNG}'"
    context = {"modality": modality, "column_name": "shown", "data_type": data_type}
    if data_type == "base64":
        context[f"{modality}_format"] = media_format
    made = chat(prompt="What is this, of {{ id }}?", multi_modal_context=[context], with_trace=True)
    return Option(made, [expression("shown", sql=url if data_type == "url" else content)], requests=1)


def _with_tools(provider: Mapping[str, Any], **config: Any) -> Option:
    spec = {
        "mcp_providers": [{"name": "shop", **provider}],
        "tool_configs": [{"tool_alias": "shop", "providers": ["shop"], **config}],
    }
    made = chat(tool_alias="shop", with_trace=True)
    return Option(made, spec=spec, requests=2 + int(config.get("max_tool_call_turns", 1)))


_STDIO = {"command": sys.executable, "args": [str(TOOL_SERVER)], "env": {"WANTED": "${TOOL_KEY}"}}

MODELS: dict[str, Option] = {
    "temperature: fixed": _inference(temperature=0.7),
    "temperature: uniform": _inference(
        temperature={"distribution_type": "uniform", "params": {"low": 0.2, "high": 0.9}}
    ),
    "temperature: manual": _inference(
        temperature={"distribution_type": "manual", "params": {"values": [0.2, 0.9], "weights": [1, 3]}}
    ),
    "top_p: fixed": _inference(top_p=0.5),
    "top_p: uniform": _inference(top_p={"distribution_type": "uniform", "params": {"low": 0.2, "high": 0.9}}),
    "top_p: manual": _inference(top_p={"distribution_type": "manual", "params": {"values": [0.2, 0.9]}}),
    "max_tokens": _inference(max_tokens=7),
    "embedding: encoding_format": _embedding(encoding_format="base64"),
    "embedding: dimensions": _embedding(dimensions=8),
    "image: parameters": Option(
        {"column_type": "image", "model_alias": "model", "prompt": "Draw {{ id }}"},
        model={"inference_parameters": {"extra_body": {"size": "64x64", "response_format": "url"}}},
        requests=1,
    ),
    "image: through a chat, with multi_modal_context": Option(
        {
            "column_type": "image",
            "model_alias": "model",
            "prompt": "Draw {{ id }}",
            "multi_modal_context": [
                {"modality": "image", "column_name": "shown", "data_type": "base64", "image_format": "png"}
            ],
        },
        [expression("shown", sql=f"'{_PNG}'")],
        model={"image_route": "chat"},
        requests=1,
    ),
    "provider: anthropic": Option(
        chat(extract_reasoning_content=True),
        after=[
            {
                "name": "judged",
                "column_type": "llm-judge",
                "model_alias": "model",
                "system_prompt": "You are fair.",
                "prompt": "Judge {{ made }} {{ made__reasoning_content }} of {{ id }}",
                "scores": [{"name": "tone", "description": "Its tone", "options": {"kind": "warm", "cold": "distant"}}],
            }
        ],
        model={"provider": "anthropic"},
        requests=4,
    ),
    "max_parallel_requests": text({"max_parallel_requests": 2}),
    "max_parallel_requests: ramp_up_s": text({"ramp_up_s": 0.5}),
    "timeout": text({"timeout_s": 5.0}),
    "api_key": text({"api_key": "${TOOL_KEY}"}),
    "prices": text({"input_usd_per_million_tokens": 0.5, "output_usd_per_million_tokens": 2}),
    "extra_body": _inference(extra_body={"seed": 7, "stop": ["x"]}),
    "skip_health_check": Option(
        chat(), model={"skip_health_check": True}, requests=1, environment={"ROWMILL_SKIP_HEALTH_CHECKS": "0"}
    ),
    "health check": Option(chat(), requests=1, environment={"ROWMILL_SKIP_HEALTH_CHECKS": "0"}),
    "reuse_answers": Option(chat(prompt="Of {{ number }}"), model={"reuse_answers": True}, requests=1),
    "reuse_answers: shared": Option(
        chat(prompt="Of {{ number }}"),
        after=[{"name": "vector", "column_type": "embedding", "model_alias": "model", "target_column": "made"}],
        model={"reuse_answers": True},
        spec={"run": {**RUN, "answer_cache": "answers"}},
        requests=2,
    ),
    "response_format": Option(
        chat("llm-structured", output_format=SCHEMA), model={"response_format": "json_schema"}, requests=3
    ),
    "system prompt": text(system_prompt="You are {{ id }}."),
    "multi_modal_context: image url": _seen("image", "url", "png"),
    "multi_modal_context: image base64": _seen("image", "base64", "png"),
    "multi_modal_context: audio url": _seen("audio", "url", "mp3"),
    "multi_modal_context: audio base64": _seen("audio", "base64", "mp3"),
    "multi_modal_context: video url": _seen("video", "url", "mp4"),
    "multi_modal_context: video base64": _seen("video", "base64", "mp4"),
    "MCP: stdio": _with_tools(_STDIO),
    "MCP: streamable HTTP": _with_tools({"endpoint": "$TOOLS", "api_key": "${TOOL_KEY}"}),
    "MCP: SSE": _with_tools({"endpoint": "$SSE_TOOLS", "api_key": "${TOOL_KEY}", "provider_type": "sse"}),
    "MCP: allow_tools": _with_tools({"endpoint": "$TOOLS"}, allow_tools=["price"]),
    "MCP: max_tool_call_turns": _with_tools({"endpoint": "$TOOLS"}, allow_tools=["price"], max_tool_call_turns=1),
    "MCP: timeout": _with_tools({"endpoint": "$TOOLS"}, allow_tools=["price"], timeout_s=20.0),
    "with_trace: all_messages": text(with_trace="all_messages", system_prompt="As {{ id }}"),
    "with_trace: last_message": text(with_trace="last_message"),
    "extract_reasoning_content": text(extract_reasoning_content=True),
    "Jinja engine: secure": Option(
        chat(
            prompt="{% for c in id[:3] %}{{ loop.index }}{{ c | upper }}{% endfor %}{{ '%d' | format(number) }}{{ id }}"
        ),
        requests=1,
    ),
}
