"""Model endpoints: what aliases of the same provider, URL and model share (C1)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from rowmill.spec.model import ModelConfig
from rowmill.spec.spec import Spec


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: its resource name, its limit, and the aliases that use it, in order of the spec."""

    resource: str
    limit: int
    """The smallest ``max_parallel_requests`` of its aliases."""
    models: tuple[ModelConfig, ...]

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases of its models."""
        return tuple(model.alias for model in self.models)


def endpoints(spec: Spec) -> dict[str, Endpoint]:
    """The endpoints of a spec by resource name: ``provider/model``, with ``@host:port`` where that is not enough."""
    by_identity: dict[tuple[str, str, str], list[ModelConfig]] = {}
    for model in spec.models:
        by_identity.setdefault(_identity(model), []).append(model)
    found = {}
    for identity, models in by_identity.items():
        resource = _resource(identity, list(by_identity))
        limit = min(model.max_parallel_requests for model in models)
        found[resource] = Endpoint(resource, limit, tuple(models))
    return found


def endpoint_of_alias(spec: Spec) -> dict[str, str]:
    """The resource name of each model alias."""
    return {alias: endpoint.resource for endpoint in endpoints(spec).values() for alias in endpoint.aliases}


def _identity(model: ModelConfig) -> tuple[str, str, str]:
    return model.provider, model.model, _normal_url(model.base_url)


def _normal_url(url: str | None) -> str:
    if url is None:
        return ""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def _resource(identity: tuple[str, str, str], identities: list[tuple[str, str, str]]) -> str:
    provider, model, url = identity
    namesakes = [other for other in identities if other[:2] == identity[:2]]
    name = f"{provider}/{model}"
    if len(namesakes) == 1:
        return name
    authority = urlsplit(url).netloc
    if sum(urlsplit(other[2]).netloc == authority for other in namesakes) == 1:
        return f"{name}@{authority}"
    # One server under several paths or schemes: only the whole URL tells them apart.
    return f"{name}@{url}"
