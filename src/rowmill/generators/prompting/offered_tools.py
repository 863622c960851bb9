"""The tools a column offers its model, as its declaration sees them: no server is asked yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rowmill.providers.mcp_tools import MISSING, is_installed
from rowmill.spec.declaration import DeclareContext
from rowmill.spec.nearest import did_you_mean


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """How long conversations may take with them, and what of them shapes values."""

    turns: int = 0
    timeout_s: float = 0.0
    fingerprint: Mapping[str, Any] = field(default_factory=dict)

    def deadline_s(self, request_s: float) -> float:
        """Of one answer with all its turns, when a request takes at most ``request_s``."""
        return request_s * (1 + self.turns) + self.timeout_s * self.turns


def offered_tools(alias: str | None, context: DeclareContext) -> OfferedTools:
    """The tools of an alias; problems of the spec if there are none."""
    if alias is None:
        return OfferedTools()
    place = f"columns.{context.index}.tool_alias"
    configs = {config.tool_alias: config for config in context.spec.tool_configs}
    config = configs.get(alias)
    if config is None:
        hint = did_you_mean(alias, configs) or (f" There are: {', '.join(configs)}." if configs else "")
        context.problem(place, f"Tools '{alias}' are not defined in tool_configs.{hint}")
        return OfferedTools()
    if not is_installed():
        context.problem(place, MISSING)
    providers = {one.name: one for one in context.spec.mcp_providers}
    return OfferedTools(
        config.max_tool_call_turns,
        config.timeout_s,
        {
            "tools": {
                "providers": [[name, providers[name].fingerprint()] for name in config.providers if name in providers],
                "allow_tools": None if config.allow_tools is None else sorted(config.allow_tools),
                "max_tool_call_turns": config.max_tool_call_turns,
            }
        },
    )
