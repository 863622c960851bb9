"""The spec as a JSON Schema, for editors: whatever ``rowmill validate`` takes, it takes, and it knows every field.

It is made of the models themselves, plug-ins included, and says nothing of its own: types, defaults and bounds are
pydantic's, descriptions the docstrings beneath the fields. It is written in the part of JSON Schema that drafts 07 and
2020-12 share, since editors differ in what they read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from rowmill.errors import SpecError
from rowmill.spec.assembling import PROMPT_FILES
from rowmill.spec.constraint import ColumnInequality, ScalarInequality
from rowmill.spec.description import as_markdown, descriptions
from rowmill.spec.executor import EXECUTOR_KINDS
from rowmill.spec.parameter import Parameter
from rowmill.spec.registry import COLUMN_TYPES, PROCESSORS, PROVIDERS, SAMPLERS, SEED_READERS, VALIDATORS, Registry
from rowmill.spec.spec import Spec

DRAFT = "http://json-schema.org/draft-07/schema#"
_PAGE_LINK = re.compile(r"\[([^\]]+)\]\([\w-]+\.md[^)]*\)")
_TRUTHS = ("true", "false", "yes", "no", "on", "off", "t", "f", "y", "n", "1", "0")


def spec_schema() -> dict[str, Any]:
    """The JSON Schema of a spec, with the column types, samplers, … that are installed."""
    definitions, refs = _definitions(_AsValidated, spec_models())
    spec = definitions["Spec"]
    properties = spec["properties"]
    properties["columns"]["items"] = _choice("column_type", COLUMN_TYPES, refs)
    properties["processors"]["items"] = _choice("processor_type", PROCESSORS, refs)
    properties["constraints"]["items"] = {"anyOf": [_ref(refs[kind]) for kind in (ScalarInequality, ColumnInequality)]}
    _depends(definitions["SamplerColumn"], "sampler_type", SAMPLERS, refs, ["params"], ["conditional_params"])
    _depends(definitions["ValidationColumn"], "validator_type", VALIDATORS, refs, ["validator_params"])
    _depends(definitions["SeedDatasetConfig"], "seed_type", SEED_READERS, refs, ["params"])
    definitions["ModelConfig"]["properties"]["provider"]["enum"] = PROVIDERS.names()
    definitions["RunSettings"]["properties"]["executor"]["anyOf"].append({"enum": list(EXECUTOR_KINDS)})
    _leaves_to_other_places(definitions, properties, refs)
    del definitions["Spec"]
    whole = {"$schema": DRAFT, "title": "A spec of Rowmill", **spec}
    return {**whole, "$defs": {name: definitions[name] for name in sorted(_reached(whole, definitions))}}


def _leaves_to_other_places(
    definitions: dict[str, Any], properties: dict[str, Any], refs: dict[type[BaseModel], str]
) -> None:
    """What a spec file has and a spec that was read has no more: parameters, included files, notes."""
    properties["parameters"] = {
        "type": "object",
        "additionalProperties": _ref(refs[Parameter]),
        "description": "Values that are given when the spec is read.",
    }
    properties["include"] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "Files with lists of models to take in.",
    }
    for definition in definitions.values():
        fields = definition.get("properties", {})
        for file_field, text_field in PROMPT_FILES.items():
            if text_field in fields:
                fields[file_field] = {"type": "string", "description": f"A file with the text of {text_field}."}
                required = definition.get("required", [])
                if text_field in required:
                    required.remove(text_field)
        if definition.get("additionalProperties") is False:
            definition["patternProperties"] = {**definition.get("patternProperties", {}), "^x-": {}}


def schema_text() -> str:
    """The JSON Schema as the text of a file."""
    return json.dumps(spec_schema(), indent=1) + "\n"


def model_schemas(models: Iterable[type[BaseModel]]) -> dict[str, dict[str, Any]]:
    """Class name → its JSON Schema, in the types a person would write; for the tables of the help pages."""
    return _definitions(_AsWritten, models)[0]


def spec_models() -> list[type[BaseModel]]:
    """Every class a spec is made of: the spec's, and those that a name in it chooses."""
    found: list[type[BaseModel]] = [Spec, Parameter, ScalarInequality, ColumnInequality]
    for registry in (COLUMN_TYPES, SAMPLERS, SEED_READERS, VALIDATORS, PROCESSORS):
        found += [cls for _, cls in _classes(registry)]
    return found


class _AsWritten(GenerateJsonSchema):
    """Types as they are declared, and a description of each field."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        """Fields stay in the order of their declaration."""
        return value

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No titles: they would say the name again."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """With the docstrings of the class and of its fields."""
        made = super().model_schema(schema)
        cls = schema["cls"]
        made.pop("title", None)
        if "description" in made:
            made["description"] = as_markdown(made["description"])
        for field, text in descriptions(cls).items():
            shape = made["properties"][field]
            text = _PAGE_LINK.sub(r"\1", text)
            # Draft 07 ignores what stands beside a reference.
            made["properties"][field] = {"description": text, **({"allOf": [shape]} if "$ref" in shape else shape)}
        return made

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Any of them: what tells them apart may be left out."""
        made = super().tagged_union_schema(schema)
        made.pop("discriminator", None)
        return {"anyOf": made.pop("oneOf"), **made} if "oneOf" in made else made

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        """Pairs of one type as lists of two: drafts say tuples differently."""
        made = super().tuple_schema(schema)
        items = made.pop("prefixItems", None)
        return made if items is None else {**made, "items": items[0]}

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """A text, of which no format is asked: a date alone will do."""
        return {"type": "string"}


class _AsValidated(_AsWritten):
    """All that is accepted: ``"5"`` where a number is wanted and pydantic is not told to be strict."""

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        made = super().bool_schema(schema)
        if schema.get("strict"):
            return made
        words = "|".join("".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word) for word in _TRUTHS)
        return {"anyOf": [made, {"enum": [0, 1]}, {"type": "string", "pattern": f"^({words})$"}]}

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return self._number(super().int_schema(schema), schema.get("strict"), r"^\s*[-+]?[0-9_]+(\.0*)?\s*$")

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        number = r"^\s*[-+]?[0-9._]+([eE][-+]?[0-9]+)?\s*$"
        return self._number(super().float_schema(schema), schema.get("strict"), number)

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        return {"type": ["string", "number"]}

    @staticmethod
    def _number(made: JsonSchemaValue, is_strict: bool | None, pattern: str) -> JsonSchemaValue:
        if is_strict:
            return made
        return {"anyOf": [made, {"type": "string", "pattern": pattern}, {"type": "boolean"}]}


def _definitions(
    generator: type[GenerateJsonSchema], models: Iterable[type[BaseModel]]
) -> tuple[dict[str, Any], dict[type[BaseModel], str]]:
    """The definitions of all classes, and what each is called among them."""
    mode: JsonSchemaMode = "validation"
    each = list(dict.fromkeys(models))
    made, whole = models_json_schema([(model, mode) for model in each], schema_generator=generator)
    refs = {model: made[model, mode]["$ref"].rpartition("/")[2] for model in each}
    return whole["$defs"], refs


def _classes(registry: Registry[Any]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name in registry.names():
        # A package that cannot be imported is reported where a spec names it.
        with suppress(SpecError):
            found = registry.find(name)
            if found is not None and issubclass(found, BaseModel):
                yield name, found


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _if(field: str, name: str, then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {field: {"const": name}}, "required": [field]}, "then": then}


def _choice(field: str, registry: Registry[Any], refs: dict[type[BaseModel], str]) -> dict[str, Any]:
    """An object whose class ``field`` names."""
    return {
        "type": "object",
        "properties": {field: {"enum": registry.names()}},
        "required": [field],
        "allOf": [_if(field, name, _ref(refs[cls])) for name, cls in _classes(registry)],
    }


def _depends(
    schema: dict[str, Any],
    field: str,
    registry: Registry[Any],
    refs: dict[type[BaseModel], str],
    fields: list[str],
    mappings: list[str] | None = None,
) -> None:
    """Makes the class of some fields, and of the values of some mappings, depend on the name in ``field``."""
    properties = schema["properties"]
    properties[field]["enum"] = registry.names()
    for dependent in [*fields, *(mappings or [])]:
        before = properties[dependent]
        kinds: list[str] = [each["type"] for each in before.get("anyOf", ()) if each.get("type") == "null"]
        properties[dependent] = {"description": before["description"], "type": ["object", *kinds]}
    choices = [
        _if(
            field,
            name,
            {
                "properties": {each: _ref(refs[cls]) for each in fields}
                | {each: {"additionalProperties": _ref(refs[cls])} for each in mappings or []}
            },
        )
        for name, cls in _classes(registry)
    ]
    if choices:
        schema["allOf"] = choices


def _reached(schema: Any, definitions: dict[str, Any]) -> set[str]:
    """The definitions the schema refers to, directly or not."""
    found: set[str] = set()
    open_values = [schema]
    while open_values:
        value = open_values.pop()
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix("#/$defs/")
            if name in definitions and name not in found:
                found.add(name)
                open_values.append(definitions[name])
            open_values += value.values()
        elif isinstance(value, list):
            open_values += value
    return found
