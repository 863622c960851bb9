"""Models: DataDesigner's model configurations and the providers they name, as the models of a spec."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rowmill.data_designer.note import Notes
from rowmill.spec.model import InferenceParameters, ModelConfig
from rowmill.spec.secret_reference import has_secret_reference, sounds_secret

_ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]*")

KNOWN_PROVIDERS: dict[str, dict[str, Any]] = {
    "nvidia": {"endpoint": "https://integrate.api.nvidia.com/v1", "api_key": "NVIDIA_API_KEY"},
    "openai": {"endpoint": "https://api.openai.com/v1", "api_key": "OPENAI_API_KEY"},
    "openrouter": {"endpoint": "https://openrouter.ai/api/v1", "api_key": "OPENROUTER_API_KEY"},
    "anthropic": {
        "endpoint": "https://api.anthropic.com/v1",
        "api_key": "ANTHROPIC_API_KEY",
        "provider_type": "anthropic",
    },
}
"""What a provider's name means where no file of providers says it."""

_DRAW_OUTSIDE_OF_CHATS = ("dall-e-", "dalle", "stable-diffusion", "sd-", "sd_", "imagen", "gpt-image-")
"""DataDesigner asks models with one of these in their name at /images/generations, all others in a chat."""


def imported_models(
    configs: Sequence[Mapping[str, Any]], providers: Mapping[str, Mapping[str, Any]], notes: Notes
) -> list[dict[str, Any]]:
    """The models of a spec; ``providers`` by name, over the known ones."""
    known = {**KNOWN_PROVIDERS, **providers}
    return [_model(config, known, f"model_configs.{index}", notes) for index, config in enumerate(configs)]


def _model(
    config: Mapping[str, Any], providers: Mapping[str, Mapping[str, Any]], place: str, notes: Notes
) -> dict[str, Any]:
    name = str(config.get("provider") or "")
    provider = providers.get(name)
    model: dict[str, Any] = {"alias": config.get("alias"), "model": config.get("model")}
    if provider is None:
        notes.add(f"{place}.provider", f"Provider '{name}' is not known; write its base_url. --providers reads a file.")
        model["base_url"] = "http://127.0.0.1:8000/v1"
    else:
        model |= _endpoint(provider, name, place, notes)
    if config.get("skip_health_check"):
        model["skip_health_check"] = True
    parameters = config.get("inference_parameters") or {}
    draws = parameters.get("generation_type") == "image"
    if draws and not any(part in str(config.get("model")).lower() for part in _DRAW_OUTSIDE_OF_CHATS):
        model["image_route"] = "chat"
    return model | _parameters(parameters, place, notes)


def _endpoint(provider: Mapping[str, Any], name: str, place: str, notes: Notes) -> dict[str, Any]:
    made: dict[str, Any] = {"base_url": provider.get("endpoint")}
    if provider.get("provider_type", "openai") == "anthropic":
        made["provider"] = "anthropic"
    key = provider.get("api_key")
    if isinstance(key, str) and key:
        if not _ENVIRONMENT_NAME.fullmatch(key):
            key = f"{re.sub('[^A-Z0-9]+', '_', name.upper())}_API_KEY"
            notes.add(f"{place}.provider", f"The key of provider '{name}' is not copied; put it into ${{{key}}}.")
        made["api_key"] = f"${{{key}}}"
    headers, left_out = _headers(provider.get("extra_headers"))
    if headers:
        made["extra_headers"] = headers
    for header, variable in left_out.items():
        headers[header] = f"${{{variable}}}"
        made["extra_headers"] = headers
        text = f"The header '{header}' of provider '{name}' may be a secret; put it into ${{{variable}}}."
        notes.add(f"{place}.provider", text)
    if provider.get("extra_body"):
        notes.add(f"{place}.provider", f"'extra_body' of provider '{name}' has no equivalent.")
    return made


def _headers(given: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The headers that can stand in a spec, and the variables for those that may be secrets."""
    headers = {str(header): str(text) for header, text in given.items()} if isinstance(given, Mapping) else {}
    secret = {header for header, text in headers.items() if sounds_secret(header) and not has_secret_reference(text)}
    variables = {header: re.sub("[^A-Z0-9]+", "_", header.upper()).strip("_") for header in secret}
    return {header: text for header, text in headers.items() if header not in secret}, variables


def _parameters(given: Mapping[str, Any], place: str, notes: Notes) -> dict[str, Any]:
    made: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for field, value in given.items():
        if value is None or field == "generation_type":
            continue
        if field == "timeout":
            made["timeout_s"] = float(value)
        elif field in InferenceParameters.model_fields:
            parameters[field] = value
        elif field in ModelConfig.model_fields:
            made[field] = value
        else:
            notes.add(f"{place}.inference_parameters.{field}", "There is no equivalent; it is left out.")
    if parameters:
        made["inference_parameters"] = parameters
    return made
