"""How an endpoint is reached, beside its URL: headers, query, key, certificates, proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rowmill.providers.key_ring import CommandKey


@dataclass(frozen=True, slots=True)
class Access:
    """What a spec and the environment say of the way to an endpoint. Values hold secrets: never shown."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    key_header: str | None = None
    """The header in which the key travels; None: the one usual for the provider."""
    command_key: CommandKey | None = None
    """The token of a command, in the place of a key."""
    ca_file: Path | None = None
    """Certificates to trust, in the place of the system's."""
    proxy_of: Callable[[str], str | None] | None = None
    """The proxy for a URL other than the endpoint's own."""

    def authorization(self, usual: str, key: str) -> dict[str, str]:
        """The header that carries the key."""
        name = self.key_header or usual
        return {name: f"Bearer {key}" if name == "Authorization" else key}


DIRECT = Access()
"""Nothing beside the URL and the key."""
