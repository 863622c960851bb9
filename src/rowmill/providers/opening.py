"""Opens the provider a model's configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rowmill.errors import UsageError
from rowmill.providers.access import Access
from rowmill.providers.key_ring import KeyRing
from rowmill.providers.protocol import Provider
from rowmill.secret import keep_secret
from rowmill.spec.registry import PROVIDERS

if TYPE_CHECKING:
    from rowmill.spec.model import ModelConfig


def open_provider(
    config: ModelConfig,
    environ: Mapping[str, str],
    max_connections: int,
    watch: Callable[[Mapping[str, str]], None] | None = None,
) -> Provider:
    """The provider of ``config``, ready for :meth:`~Provider.chat`. Makes no request and opens no connection.

    ``environ`` gives the API key and, as other programs read it, the HTTP proxy
    (:func:`proxy_of`); a :class:`~rowmill.providers.key_ring.KeyRing` also shares the tokens of commands and says where
    relative paths start. ``watch`` gets the headers of every answer over HTTP. ``max_connections`` bounds the
    connections of an HTTP provider: the limit of its endpoint. Inference parameters are not built in;
    they come with each request.

    Raises :class:`~rowmill.errors.SpecError` if the key's variable is not set,
    :class:`~rowmill.errors.UsageError` for a URL, key or proxy that cannot work.
    """
    if config.provider == "simulated":
        from rowmill.providers.simulated import SimulatedProvider

        return SimulatedProvider(config.model, config.simulated_behaviour())
    plug_in = PROVIDERS.find(config.provider)
    if plug_in is not None:
        return plug_in(config, config.resolved_api_key(environ))
    base_url = config.effective_base_url()
    if base_url is None:
        raise UsageError(f"Model {config.alias!r} has no base_url")
    key = config.resolved_api_key(environ)
    options: dict[str, Any] = {
        "proxy": proxy_of(base_url, environ),
        "access": _access(config, KeyRing.of(environ)),
        "service_tier": config.service_tier,
        "watch": watch,
    }
    # Here and not above: aiohttp takes 150 ms to import, and most commands make no request.
    if config.provider == "anthropic":
        from rowmill.providers.anthropic import AnthropicProvider

        return AnthropicProvider(base_url, config.model, key, max_connections, **options)
    from rowmill.providers.openai import OpenAIProvider

    return OpenAIProvider(base_url, config.model, key, max_connections, **options)


def _access(config: ModelConfig, keys: KeyRing) -> Access:
    ca_file = None
    if config.ca_file is not None:
        ca_file = (keys.directory or Path()) / Path(config.ca_file).expanduser()
    return Access(
        headers=config.resolved_headers(keys),
        query=config.resolved_query(keys),
        key_header=config.key_header(),
        command_key=keys.key_of(config.api_key_command) if config.api_key_command is not None else None,
        ca_file=ca_file,
        proxy_of=partial(proxy_of, environ=keys),
    )


def proxy_of(base_url: str, environ: Mapping[str, str]) -> str | None:
    """The URL of the HTTP proxy to reach ``base_url`` through, None to go direct.

    Reads ``https_proxy`` or ``http_proxy`` by the scheme of the URL, else ``all_proxy``, and
    ``no_proxy``, each in lower or upper case (``HTTP_PROXY`` is ignored where a web server may have
    set it, as everywhere: if ``REQUEST_METHOD`` is set). Loopback addresses always go direct.

    Raises :class:`~rowmill.errors.UsageError` for a proxy that does not speak HTTP.
    """
    url = urlsplit(base_url)
    host = url.hostname or ""
    if _is_loopback(host):
        return None
    name = f"{url.scheme}_proxy"
    proxy = _variable(name, environ) or _variable("all_proxy", environ)
    if not proxy:
        return None
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    exceptions = {"no": _variable("no_proxy", environ)}
    if proxy_bypass_environment(host if url.port is None else f"{host}:{url.port}", exceptions):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    parts = urlsplit(proxy)
    scheme = parts.scheme
    keep_secret(unquote(parts.password or ""))
    if scheme not in ("http", "https"):
        raise UsageError(
            f"The environment sets a {scheme} proxy for {host}, and Rowmill only speaks to HTTP proxies: "
            f"set {name} to an HTTP proxy, or add {host} to no_proxy"
        )
    return proxy


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None and not (name == "http_proxy" and "REQUEST_METHOD" in environ):
        value = environ.get(name.upper())
    return (value or "").strip()
