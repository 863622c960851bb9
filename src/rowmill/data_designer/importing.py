"""Importing: from a DataDesigner configuration (YAML, or the JSON of ``builder_config.json``) to a spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rowmill.data_designer.columns import imported_column
from rowmill.data_designer.models import imported_models
from rowmill.data_designer.note import Note, Notes
from rowmill.errors import SpecError, UsageError
from rowmill.spec.loading import MAX_BYTES
from rowmill.spec.name import safe_spec_name
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.spec.spec import Spec
from rowmill.spec.spelling import warning_of
from rowmill.spec.tools import ToolConfig
from rowmill.spec.yaml_loader import load_yaml_with_spellings
from rowmill.spec.yaml_writer import dump_yaml

_KNOWN = frozenset(
    {"columns", "model_configs", "tool_configs", "seed_config", "constraints", "profilers", "processors"}
)
_OF_A_COLUMN = ("name", "column_type")


@dataclass(frozen=True)
class Imported:
    """A spec as plain data, and what to know of it."""

    spec: dict[str, Any]
    notes: list[Note]

    def text(self) -> str:
        """The spec as YAML."""
        return dump_yaml(self.spec, default_flow_style=None)


def imported(path: Path, records: int, providers: Path | None = None) -> Imported:
    """The spec with the meaning of a configuration file. Raises UsageError if the file is none."""
    notes = Notes()
    data = _mapping(path, notes)
    config = data.get("data_designer", data)
    if not isinstance(config, Mapping) or not isinstance(config.get("columns"), list):
        raise UsageError(
            f"'{path}' is no DataDesigner configuration: it has no list 'columns'. They are written by "
            "DataDesignerConfigBuilder.write_config()."
        )
    _refuse_other_files(path, config)
    spec: dict[str, Any] = {"name": safe_spec_name(path.stem), "records": records}
    models = imported_models(config.get("model_configs") or [], _providers(providers), notes)
    if models:
        spec["models"] = models
    if config.get("seed_config"):
        spec["seed_dataset"] = _seed(config["seed_config"], notes)
    columns = [
        column
        for index, each in enumerate(config["columns"])
        if (column := imported_column(each, f"columns.{index}", notes)) is not None
    ]
    spec["columns"] = columns
    if config.get("constraints"):
        spec["constraints"] = [dict(constraint) for constraint in config["constraints"]]
    _processors(config.get("processors") or [], spec, notes)
    if config.get("tool_configs"):
        spec["tool_configs"] = [
            _tools(each, f"tool_configs.{index}", notes) for index, each in enumerate(config["tool_configs"])
        ]
        notes.add(
            "tool_configs",
            "A configuration holds only the names of its tool providers. Write them into 'mcp_providers' of the spec.",
        )
    if config.get("profilers"):
        notes.add("profilers", "There is no equivalent in a spec; it is left out. 'rowmill report' shows scores.")
    for field in config:
        if field not in _KNOWN:
            notes.add(str(field), "This field is not known; it is left out.")
    _check(spec, notes)
    return Imported(spec, notes.all)


def _refuse_other_files(path: Path, config: Mapping[str, Any]) -> None:
    """Raises UsageError for a file that has a list 'columns', but not of a configuration's columns."""
    own = sorted(set(config) & (set(Spec.model_fields) - _KNOWN))
    if "records" in own:
        raise UsageError(
            f"'{path}' is no DataDesigner configuration: it has {', '.join(map(repr, own))}, as a spec of Rowmill "
            f"does. 'rowmill run {path}' runs a spec."
        )
    for index, column in enumerate(config["columns"]):
        if not isinstance(column, Mapping) or not all(isinstance(column.get(each), str) for each in _OF_A_COLUMN):
            raise UsageError(
                f"'{path}' is no DataDesigner configuration: columns.{index} is no mapping with a 'name' and a "
                "'column_type'."
            )


def _tools(config: Mapping[str, Any], place: str, notes: Notes) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field, value in config.items():
        name = "timeout_s" if field == "timeout_sec" else field
        if name in ToolConfig.model_fields and value is not None:
            made[name] = float(value) if name == "timeout_s" else value
        elif value is not None:
            notes.add(f"{place}.{field}", "There is no equivalent; it is left out.")
    return made


def _check(spec: Mapping[str, Any], notes: Notes) -> None:
    try:
        Spec.from_data(spec)
    except SpecError as error:
        for problem in error.problems:
            notes.add("", f"To be mended in the spec: {problem.message} ({problem.place})")


def _seed(config: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    source = dict(config.get("source") or {})
    made: dict[str, Any] = {}
    for field, value in source.items():
        if value is None or (field == "seed_type" and value == "local"):
            continue
        if field == "token":
            made["token"] = "${HF_TOKEN}"
            notes.add("seed_config.source.token", "Secrets are not copied; put it into ${HF_TOKEN}.")
        elif field in SeedDatasetConfig.model_fields:
            made[field] = value
        else:
            notes.add(f"seed_config.source.{field}", "There is no equivalent; it is left out.")
    if source.get("seed_type") == "agent_rollout":
        notes.add("seed_config.source", "The content of 'messages' is text, where DataDesigner has a list of blocks.")
    if source.get("seed_type") == "df" or not source.get("path", source.get("format")):
        notes.add("seed_config.source", "Its rows came from Python and are not in the configuration; name a file.")
        made = {"path": "seed.parquet"}
    elif not str(source.get("path", "")).startswith(("/", "~")) and source.get("seed_type", "local") != "hf":
        notes.add("seed_config.source.path", "Relative paths start at the directory of the spec.")
    strategy = config.get("sampling_strategy")
    if strategy and strategy != "ordered":
        made["sampling_strategy"] = strategy
    if config.get("selection_strategy"):
        made["selection"] = dict(config["selection_strategy"])
    return made


def _processors(configs: list[Mapping[str, Any]], spec: dict[str, Any], notes: Notes) -> None:
    kept = []
    for index, config in enumerate(configs):
        if config.get("processor_type") == "drop_columns":
            for column in spec["columns"]:
                if any(fnmatchcase(column["name"], pattern) for pattern in config.get("column_names", ())):
                    column["drop"] = True
        elif "processors" in Spec.model_fields:
            kept.append(dict(config))
        else:
            what = f"Processor '{config.get('name')}' of type {config.get('processor_type')}"
            notes.add(f"processors.{index}", f"{what} has no equivalent in a spec; it is left out.")
    if kept:
        spec["processors"] = kept


def _providers(path: Path | None) -> dict[str, Mapping[str, Any]]:
    if path is None:
        return {}
    found = _mapping(path, Notes()).get("providers")
    if not isinstance(found, list):
        raise UsageError(f"'{path}' is no file of DataDesigner's providers: it has no list 'providers'.")
    return {str(each.get("name")): each for each in found if isinstance(each, Mapping)}


def _mapping(path: Path, notes: Notes) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"'{path}' is larger than {MAX_BYTES // 2**20} MiB; a configuration is a small file.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"'{path}' is not encoded as UTF-8.") from error
    if path.suffix.lower() == ".json":
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"'{path}' is not valid JSON: {error}.") from error
    else:
        data, problems, spellings = load_yaml_with_spellings(text)
        if problems:
            raise UsageError(f"'{path}' is not valid YAML: {problems[0].message} ({problems[0].place})")
        for spelling in spellings:
            if "values" in spelling.path:
                warning = warning_of(spelling)
                notes.add(warning.place, warning.message)
    if not isinstance(data, Mapping):
        raise UsageError(f"'{path}' is no DataDesigner configuration: it is not a mapping of fields.")
    return data
