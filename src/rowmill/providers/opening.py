"""Opens the provider a model's configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rowmill.errors import UsageError
from rowmill.providers.protocol import Provider
from rowmill.spec.registry import PROVIDERS

if TYPE_CHECKING:
    from rowmill.spec.model import ModelConfig


def open_provider(config: ModelConfig, environ: Mapping[str, str], max_connections: int) -> Provider:
    """The provider of ``config``, ready for :meth:`~Provider.chat`. Makes no request and opens no connection.

    ``environ`` gives the API key and, as other programs read it, the HTTP proxy
    (:func:`proxy_of`). ``max_connections`` bounds the connections of an HTTP provider: the limit of its
    endpoint. Inference parameters are not built in; they come with each request.

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
    proxy = proxy_of(base_url, environ)
    # Here and not above: aiohttp takes 150 ms to import, and most commands make no request.
    if config.provider == "anthropic":
        from rowmill.providers.anthropic import AnthropicProvider

        return AnthropicProvider(base_url, config.model, key, max_connections, proxy=proxy)
    from rowmill.providers.openai import OpenAIProvider

    return OpenAIProvider(base_url, config.model, key, max_connections, proxy=proxy)


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
    scheme = urlsplit(proxy).scheme
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
