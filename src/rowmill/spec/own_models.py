"""Models of one's own: aliases that every spec may name, in ``~/.config/rowmill/models.yaml``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rowmill.errors import Problem, SpecError, UsageError
from rowmill.spec.model import ModelConfig
from rowmill.spec.problems import problems_of
from rowmill.spec.yaml_loader import load_yaml

_MOST_BYTES = 4 * 1024 * 1024


def own_models_file(environ: Mapping[str, str] | None = None) -> Path:
    """Where they are: below ``XDG_CONFIG_HOME`` if that is set to an absolute path, else below ``~/.config``."""
    environ = os.environ if environ is None else environ
    base = environ.get("XDG_CONFIG_HOME", "")
    home = environ.get("HOME") or "~"
    directory = Path(base) if base.startswith("/") else Path(home).expanduser() / ".config"
    return directory / "rowmill" / "models.yaml"


def own_entries(file: Path) -> Iterator[tuple[int, Any]]:
    """The entries of such a file as they are written, with their places. Raises SpecError for no list of models."""
    try:
        content = file.read_bytes()[: _MOST_BYTES + 1].decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not encoded as UTF-8"
        raise SpecError([Problem(str(file), f"Your own models cannot be read: {reason}.")]) from error
    data, problems = load_yaml(content)
    if problems:
        raise SpecError([Problem(f"{file}: {each.place}".rstrip(": "), each.message) for each in problems])
    entries = data.get("models", []) if isinstance(data, dict) else [] if data is None else data
    if not isinstance(entries, list):
        raise SpecError([Problem(str(file), "Expected a list of models, or a mapping with 'models'.")])
    yield from enumerate(entries)


def own_models(environ: Mapping[str, str] | None = None, *, required: bool = False) -> Sequence[ModelConfig]:
    """All models of one's own. Raises SpecError with every problem found, UsageError if ``required`` and none."""
    file = own_models_file(environ)
    if not file.exists():
        if required:
            raise UsageError(f"Name a spec, or keep models of your own in {file}.")
        return ()
    models, problems = [], []
    for number, entry in own_entries(file):
        try:
            models.append(ModelConfig.model_validate(entry))
        except ValidationError as error:
            found = problems_of(error, ModelConfig, entry)
            problems += [Problem(f"{file}: models.{number}.{each.place}".rstrip("."), each.message) for each in found]
    if problems:
        raise SpecError(problems)
    return models
