"""Agent Trajectory Interchange Format (ATIF): one JSON object, a list of numbered steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from rowmill.seeds.rollout.session import (
    MalformedSession,
    Message,
    Session,
    fields_of,
    message,
    optional,
    required,
    span,
    tool_call,
)

_SOURCES = {"agent": "assistant", "user": "user", "system": "system"}
_AGENT_ONLY = ("reasoning_content", "tool_calls", "observation")


def is_session(path: PurePosixPath) -> bool:
    """Every JSON file is one trajectory."""
    return path.suffix == ".json"


def session(records: Sequence[dict[str, Any]], stem: str, index: Mapping[str, Any]) -> Session:
    """A trajectory. Raises MalformedSession."""
    whole = records[0]
    version = required(whole.get("schema_version"), "schema_version")
    agent = whole.get("agent")
    steps = whole.get("steps")
    if not isinstance(agent, dict):
        raise MalformedSession("the agent is missing")
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise MalformedSession("there is no list of steps")
    extra = fields_of(agent.get("extra"))
    references: list[dict[str, Any]] = []
    messages: list[Message] = []
    for number, step in enumerate(steps, start=1):
        if step.get("step_id") != number:
            raise MalformedSession(f"step {number} has the step_id {step.get('step_id')!r}")
        messages += _messages(step, number, references)
    started_at, ended_at = span(step.get("timestamp") for step in steps)
    copied = [step["step_id"] for step in steps if step.get("is_copied_context") is True]
    told = {
        "schema_version": version,
        "step_count": len(steps),
        "agent_name": required(agent.get("name"), "agent's name"),
        "version": optional(agent.get("version")),
        "model_name": optional(agent.get("model_name")),
        "copied_context_step_ids": copied,
        "subagent_trajectory_refs": references,
        **{name: whole.get(name) for name in ("notes", "continued_trajectory_ref", "final_metrics", "extra")},
    }
    return Session(
        required(whole.get("session_id"), "session_id"),
        cwd=optional(extra.get("cwd")),
        project_path=optional(extra.get("project_path")),
        git_branch=optional(extra.get("git_branch")),
        started_at=started_at,
        ended_at=ended_at,
        messages=messages,
        meta={name: value for name, value in told.items() if value},
    )


def _messages(step: Mapping[str, Any], number: int, references: list[dict[str, Any]]) -> list[Message]:
    role = _SOURCES.get(str(step.get("source")))
    if role is None:
        raise MalformedSession(f"step {number} has the source {step.get('source')!r}")
    if "message" not in step:
        raise MalformedSession(f"step {number} has no message")
    foreign = [name for name in _AGENT_ONLY if role != "assistant" and step.get(name) is not None]
    if foreign:
        raise MalformedSession(f"step {number} of the {role} has {foreign[0]}, which only the agent's have")
    calls = [
        tool_call(call.get("tool_call_id"), call.get("function_name"), call.get("arguments"))
        for call in _objects(step.get("tool_calls"), f"tool_calls of step {number}")
    ]
    reasoning = optional(step.get("reasoning_content"))
    made = [message(role, step["message"], reasoning=[reasoning] if reasoning else [], tool_calls=calls)]
    observation = step.get("observation")
    if observation is None:
        return made
    if not isinstance(observation, dict):
        raise MalformedSession(f"the observation of step {number} is no object")
    known = {call["id"] for call in calls}
    for result in _objects(observation.get("results"), f"results of step {number}"):
        call_id = optional(result.get("source_call_id"))
        if call_id is not None and call_id not in known:
            raise MalformedSession(f"step {number} has a result of the call {call_id!r}, which it did not make")
        if result.get("content") is not None:
            made.append(message("tool", result["content"], tool_call_id=call_id))
        refs = _objects(result.get("subagent_trajectory_ref"), f"subagent_trajectory_ref of step {number}")
        if refs:
            references.append({"step_id": number, "refs": refs})
    return made


def _objects(value: object, what: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise MalformedSession(f"the {what} are no list of objects")
    return value
