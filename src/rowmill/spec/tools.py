"""Tools a model may call while it answers: where they are (MCP servers), and which of them a column offers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Discriminator, Field, Tag, field_validator

from rowmill.spec.column import Items, StrictModel
from rowmill.spec.model import Seconds
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.secret_reference import resolve_secret

_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_Name = Annotated[str, Field(min_length=1, max_length=100)]


class LocalToolProvider(StrictModel):
    """An MCP server that Rowmill starts, and speaks to over its standard input and output."""

    provider_type: Literal["stdio"] = "stdio"
    """Told by ``command``."""
    name: _Name
    """The name ``tool_configs`` use."""
    command: str = Field(min_length=1)
    """A server to start, in the directory of the spec."""
    args: Items[str] = ()
    """Its arguments."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables beside the few it inherits (``PATH``, ``HOME`` and the like); secrets as ``"${NAME}"``."""

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``env`` with the values of its references. Raises SpecError for one that is not set."""
        return {
            name: resolve_secret(value, environ, f"mcp_providers.{self.name}.env.{name}")
            if _REFERENCE.fullmatch(value)
            else value
            for name, value in self.env.items()
        }

    def fingerprint(self) -> dict[str, Any]:
        """What of it shapes answers (V2)."""
        return {"command": self.command, "args": list(self.args)}


class RemoteToolProvider(StrictModel):
    """An MCP server at a URL, spoken to over streamable HTTP, or over SSE as older ones want it."""

    provider_type: Literal["streamable_http", "sse"] = "streamable_http"
    """``sse``: the older HTTP+SSE transport."""
    name: _Name
    """The name ``tool_configs`` use."""
    endpoint: str
    """A server to reach."""
    api_key: str | None = None
    """``"${NAME}"``, sent as a bearer token; never the key itself."""

    @field_validator("endpoint")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise ValueError("The endpoint is a URL without user name, like 'http://127.0.0.1:9000/mcp'.")
        return value

    @field_validator("api_key")
    @classmethod
    def _key_is_a_reference(cls, value: str | None) -> str | None:
        if value is not None and not _REFERENCE.fullmatch(value):
            raise ValueError("A key is never written into a spec. Refer to an environment variable: '${MY_API_KEY}'.")
        return value

    def headers(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The headers that carry the key. Raises SpecError when its variable is not set."""
        if self.api_key is None:
            return {}
        return {
            "Authorization": f"Bearer {resolve_secret(self.api_key, environ, f'mcp_providers.{self.name}.api_key')}"
        }

    def fingerprint(self) -> dict[str, Any]:
        """Nothing: it may move, as a model may."""
        return {}


def _kind(value: object) -> str:
    given = value.get("provider_type") if isinstance(value, Mapping) else getattr(value, "provider_type", None)
    if given is not None:
        return "stdio" if given == "stdio" else "streamable_http"
    return "stdio" if isinstance(value, Mapping) and "command" in value else "streamable_http"


ToolProvider = Annotated[
    Annotated[LocalToolProvider, Tag("stdio")] | Annotated[RemoteToolProvider, Tag("streamable_http")],
    Discriminator(_kind),
]


class ToolConfig(StrictModel):
    """Tools under an alias: columns name the alias (``tool_alias``)."""

    tool_alias: _Name
    """The name columns use."""
    providers: Items[str] = Field(min_length=1)
    """Names of ``mcp_providers``."""
    allow_tools: Items[str] | None = None
    """What the model sees and may call. Default: all tools of these providers."""
    max_tool_call_turns: int = Field(default=5, strict=True, ge=1, le=1000)
    """Answers in a row that call tools; the next must do without."""
    timeout_s: Seconds = 60.0
    """Of one call of a tool; the model is told when it is over."""


def tool_problem(
    providers: Sequence[LocalToolProvider | RemoteToolProvider], configs: Sequence[ToolConfig]
) -> tuple[tuple[str | int, ...], str] | None:
    """The first contradiction between servers and configurations, as place and message; None if there is none."""
    names = [provider.name for provider in providers]
    for position, name in enumerate(names):
        if name in names[:position]:
            return ("mcp_providers", position, "name"), f"There is an MCP provider '{name}' already."
    aliases = [config.tool_alias for config in configs]
    for position, config in enumerate(configs):
        if config.tool_alias in aliases[:position]:
            return ("tool_configs", position, "tool_alias"), f"There are tools '{config.tool_alias}' already."
        for place, name in enumerate(config.providers):
            if name not in names:
                hint = did_you_mean(name, names) or (f" There are: {', '.join(names)}." if names else "")
                return ("tool_configs", position, "providers", place), f"MCP provider '{name}' is not defined.{hint}"
    return None
