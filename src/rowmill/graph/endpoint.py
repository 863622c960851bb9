"""Model endpoints: what aliases of the same provider, URL and model share (C1)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from rowmill.spec.model import ModelConfig
from rowmill.spec.spec import Spec

_Identity = tuple[str, str, str]
"""Provider, model, and the URLs of its servers."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: its resource name, its limit, and the aliases that use it, in order of the spec."""

    resource: str
    limit: int
    """How many requests it takes at once: the smallest ``max_parallel_requests`` of its aliases, of each server."""
    models: tuple[ModelConfig, ...]
    servers: tuple[str, ...] = ()
    """The names of its servers, ``provider/model@host:port``, in the order of the spec, if it has several (C6)."""

    @property
    def server_limit(self) -> int:
        """How many requests one server takes at once."""
        return self.limit // max(1, len(self.servers))

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases of its models."""
        return tuple(model.alias for model in self.models)


def endpoints(spec: Spec) -> dict[str, Endpoint]:
    """The endpoints of a spec by resource name: ``provider/model``, with ``@host:port`` where that is not enough."""
    by_identity: dict[_Identity, list[ModelConfig]] = {}
    for model in spec.models:
        by_identity.setdefault(_identity(model), []).append(model)
    found = {}
    for identity, models in by_identity.items():
        resource = _resource(identity, list(by_identity))
        limit = min(model.max_parallel_requests for model in models)
        servers = tuple(server_names(models[0]))
        found[resource] = Endpoint(resource, limit * max(1, len(servers)), tuple(models), servers)
    return found


def endpoint_of_alias(spec: Spec) -> dict[str, str]:
    """The resource name of each model alias."""
    return {alias: endpoint.resource for endpoint in endpoints(spec).values() for alias in endpoint.aliases}


def _identity(model: ModelConfig) -> _Identity:
    return model.provider, model.model, ",".join(sorted(map(_normal_url, model.base_urls())))


def server_names(model: ModelConfig) -> list[str]:
    """The names of a model's servers in the order of its URLs; none if it has one."""
    urls = [_normal_url(url) for url in model.base_urls()]
    if len(urls) < 2:
        return []
    places = [urlsplit(url).netloc for url in urls]
    # One host under several paths or schemes: only the whole URL tells them apart.
    names = [place if places.count(place) == 1 else url for place, url in zip(places, urls, strict=True)]
    return [f"{model.provider}/{model.model}@{name}" for name in names]


def _normal_url(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def _place(urls: str) -> str:
    """The host of the one server, or of all."""
    return ",".join(urlsplit(url).netloc for url in urls.split(","))


def _resource(identity: _Identity, identities: list[_Identity]) -> str:
    provider, model, url = identity
    namesakes = [other for other in identities if other[:2] == identity[:2]]
    name = f"{provider}/{model}"
    if len(namesakes) == 1:
        return name
    authority = _place(url)
    if sum(_place(other[2]) == authority for other in namesakes) == 1:
        return f"{name}@{authority}"
    # One server under several paths or schemes: only the whole URL tells them apart.
    return f"{name}@{url}"
