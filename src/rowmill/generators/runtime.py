"""What columns get when they are bound for an invocation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from rowmill.errors import InternalError
from rowmill.generators.file_directory import FileDirectory
from rowmill.generators.protocol import Model, Toolbox
from rowmill.spec.spec import Spec


@dataclass(frozen=True)
class InvocationRuntime:
    """The directory of the spec, models and tools of one invocation by alias, where its files go, and the spec."""

    spec_directory: Path
    models: Mapping[str, Model] = field(default_factory=dict)
    files: FileDirectory = field(default_factory=lambda: FileDirectory(Path("rowmill.files")))
    spec: Spec = field(default_factory=lambda: Spec(records=0))
    toolboxes: Mapping[str, Toolbox] = field(default_factory=dict)
    arrow_types: Mapping[str, pa.DataType] = field(default_factory=dict)
    casts_values: bool = False

    def model(self, alias: str) -> Model:
        """The model of that alias. The graph has checked the spec's aliases: a missing one is our error."""
        try:
            return self.models[alias]
        except KeyError:
            raise InternalError(f"model '{alias}' was not opened for this invocation") from None

    def toolbox(self, alias: str) -> Toolbox:
        """The tools of that alias."""
        try:
            return self.toolboxes[alias]
        except KeyError:
            raise InternalError(f"the tools '{alias}' were not connected for this invocation") from None
