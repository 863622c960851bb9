"""Which resource somebody means, and how many calls at once its spec allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rowmill.errors import UsageError
from rowmill.graph.endpoint import endpoint_of_alias, endpoints
from rowmill.inspect.opening import open_reader
from rowmill.spec.declaration import THREADS
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.spec import Spec


@dataclass(frozen=True, slots=True)
class SpecLimit:
    """A resource (None: all tasks in flight) and its limit by the spec."""

    resource: str | None
    calls: int


def limit_of(database: Path, name: str | None) -> SpecLimit:
    """The resource that an alias, a model or a resource's own name means. Raises UsageError if none or several do."""
    with open_reader(database) as reader:
        spec = Spec.from_json(reader.newest_spec())
    if name is None:
        return SpecLimit(None, spec.run.max_in_flight)
    if name == THREADS:
        return SpecLimit(THREADS, spec.run.max_local_workers)
    found = endpoints(spec)
    for endpoint in found.values():
        # By URL or name: one of several servers.
        urls = [url for model in endpoint.models for url in model.base_urls()]
        named_by = dict(zip([*endpoint.servers, *urls], [*endpoint.servers, *endpoint.servers], strict=False))
        if endpoint.servers and name in named_by:
            return SpecLimit(named_by[name], endpoint.server_limit)
    resource = endpoint_of_alias(spec).get(name, name)
    if resource not in found:
        named = [each for each, endpoint in found.items() if any(model.model == name for model in endpoint.models)]
        if len(named) > 1:
            raise UsageError(f"'{name}' may be {' or '.join(sorted(named))}: name one of these.")
        if not named:
            known = sorted({*endpoint_of_alias(spec), *found, THREADS})
            hint = did_you_mean(name, known)
            raise UsageError(f"There is no model '{name}' in this run.{hint} It has: {', '.join(known)}.")
        resource = named[0]
    return SpecLimit(resource, found[resource].limit)
