"""JSON Schemas of answers: checking a schema, and values against it, with the optional library jsonschema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from typing import Any

from rowmill.errors import GeneratorError
from rowmill.generators.protocol import UnusableAnswer
from rowmill.generators.rendering import is_brief
from rowmill.generators.schema_keywords import Spending, TooCostly, exact_and_bounded, has_patterns
from rowmill.spec.rendering_budget import NeedsThread

_MAX_FAULTS = 5
_MAX_FOUND = 1000
"""Faults that are looked for at most."""
_LONGEST_FAULT = 300
_DEEPEST = 32
_KINDS: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

MISSING = (
    "JSON Schemas are checked by the library jsonschema, which is not installed: pip install 'rowmill[structured]'."
)
_MISSING_REGEX = (
    "Regular expressions of JSON Schemas are searched for by the library regex, which is not installed: "
    "pip install 'rowmill[structured]'."
)


def schema_problem(schema: Any) -> str | None:
    """Why values cannot be checked against this schema, or None when they can."""
    try:
        import jsonschema
    except ModuleNotFoundError:
        return MISSING
    if not isinstance(schema, dict):
        return "A JSON Schema is a mapping."
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"This is not a valid JSON Schema: {error.message[:_LONGEST_FAULT]} ({error.json_path})"
    except RecursionError:
        return "The JSON Schema is nested too deeply."
    return None if can_search(schema) else _MISSING_REGEX


def can_search(schema: object) -> bool:
    """Whether the regular expressions of a schema can be searched for here, if it has any."""
    return find_spec("regex") is not None or not has_patterns(schema)


def outermost(schema: object) -> tuple[tuple[type, ...], frozenset[str]]:
    """The Python types the values of a schema have, and the names of an object's fields; empty where anything goes."""
    kinds: set[type] = set()
    names: set[str] = set()
    for part in _alternatives(schema, schema, 0, set()):
        given = part.get("type")
        if "enum" in part or "const" in part:
            values = part["enum"] if isinstance(part.get("enum"), list) else [part.get("const")]
            kinds.update(type(value) for value in values)
        elif given is None:
            return (), frozenset()
        for kind in given if isinstance(given, list) else [given]:
            kinds.update(_KINDS.get(str(kind), ()))
        properties = part.get("properties")
        if isinstance(properties, Mapping) and part.get("additionalProperties") is False:
            names.update(map(str, properties))
        elif kinds & {dict}:
            names.update(map(str, part.get("required") or ()))
    return tuple(kinds), frozenset(names)


def _alternatives(root: object, schema: object, depth: int, seen: set[int]) -> Iterator[Mapping[str, Any]]:
    """The schemas one of which a value has, with their local references followed; ``{}`` where that is not known."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        yield {}
        return
    if id(schema) in seen:
        return
    seen.add(id(schema))
    reference = schema.get("$ref")
    for branches in (schema.get("anyOf"), schema.get("oneOf")):
        if isinstance(branches, list) and branches:
            for branch in branches:
                yield from _alternatives(root, branch, depth + 1, seen)
            return
    if isinstance(reference, str):
        yield from _alternatives(root, local_target(root, reference), depth + 1, seen)
    else:
        yield schema


def local_target(root: object, reference: str) -> object:
    """What ``#`` or ``#/…`` leads to within a schema; None for any other reference, and where nothing is there."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    here = root
    for step in reference.split("/")[1:]:
        here = here.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(here, Mapping) else None
    return here


def reference_problem(schema: dict[str, Any]) -> str | None:
    """Which reference of a schema leads nowhere, or only back to itself; None if all are good. Nothing is fetched.

    The schema must be one that :func:`schema_problem` has nothing against.
    """
    try:
        return _reference_problem(schema)
    except RecursionError:
        return "The JSON Schema is nested too deeply."


def _reference_problem(schema: dict[str, Any]) -> str | None:
    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, specification_with

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    specification = specification_with(kind.META_SCHEMA.get("$schema", ""), default=DRAFT202012)
    root = specification.create_resource(schema)
    address = root.id() or ""
    pending = [(Registry().with_resource(address, root).resolver(address), root)]
    seen: set[int] = set()
    clear: set[int] = set()
    while pending:
        resolver, resource = pending.pop()
        contents = resource.contents
        if id(contents) in seen:
            continue
        seen.add(id(contents))
        pending += [(resolver.in_subresource(part), part) for part in resource.subresources()]
        if not isinstance(contents, Mapping):
            continue
        for keyword in ("$ref", "$dynamicRef"):
            reference = contents.get(keyword)
            if not isinstance(reference, str):
                continue
            try:
                found = resolver.lookup(reference)
            except (Unresolvable, LookupError, TypeError, ValueError):
                return f"{keyword} '{reference[:200]}' leads nowhere: nothing of that name is within this JSON Schema."
            if not isinstance(found.contents, Mapping | bool):
                return f"{keyword} '{reference[:200]}' leads to what is no JSON Schema: {str(found.contents)[:60]!r}."
            pending.append((found.resolver, specification.create_resource(found.contents)))
        if _returns_to_itself(resolver, contents, frozenset(), clear):
            shown = f"'{contents['$ref'][:200]}' leads" if isinstance(contents.get("$ref"), str) else "leads"
            return f"A $ref {shown} only back to itself: no value can be checked."
    return None


def _returns_to_itself(resolver: Any, schema: Any, above: frozenset[int], clear: set[int]) -> bool:
    """Does checking a value lead back to this schema for the very same value? ``clear`` are schemas that do not."""
    from referencing.exceptions import Unresolvable

    if not isinstance(schema, Mapping) or id(schema) in clear:
        return False
    if id(schema) in above:
        return True
    above |= {id(schema)}
    parts = [(resolver, part) for name in ("allOf", "anyOf", "oneOf") for part in schema.get(name) or ()]
    parts += [(resolver, schema[name]) for name in ("not", "if", "then", "else") if name in schema]
    if isinstance(schema.get("$ref"), str):
        try:
            found = resolver.lookup(schema["$ref"])
            parts.append((found.resolver, found.contents))
        except (Unresolvable, LookupError, TypeError, ValueError):
            pass  # said of the schema that has this reference
    if any(_returns_to_itself(*part, above, clear) for part in parts):
        return True
    clear.add(id(schema))
    return False


class SchemaCheck:
    """Checks values against one schema. References lead only to places within it: nothing is fetched."""

    def __init__(self, schema: Any) -> None:
        """Raises :class:`~rowmill.errors.GeneratorError` when jsonschema is not installed."""
        try:
            import jsonschema
            from referencing import Registry
        except ModuleNotFoundError:
            raise GeneratorError(MISSING, "MissingPackage") from None
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        if not can_search(schema):
            raise GeneratorError(_MISSING_REGEX, "MissingPackage")
        self._validator = exact_and_bounded(kind)(schema, registry=Registry())

    def __call__(self, value: Any) -> None:
        """Raises :class:`UnusableAnswer` with the first faults of a value that does not fit.

        Raises NeedsThread in :func:`~rowmill.generators.rendering.unhurried` when it takes long.
        """
        try:
            with Spending(value, is_brief=is_brief()):
                found = islice(self._validator.iter_errors(value), _MAX_FOUND)
                faults = sorted(found, key=lambda error: str(error.json_path))
        except NeedsThread:
            raise
        except TooCostly as error:
            raise UnusableAnswer(f"It cannot be checked against the JSON Schema: that takes {error}.") from None
        except RecursionError:
            raise UnusableAnswer("It is nested too deeply.") from None
        except Exception as error:  # a reference that leads nowhere is found only when it is followed
            raise GeneratorError(
                f"The JSON Schema cannot be used: {error}"[:_LONGEST_FAULT], "InvalidSchema"
            ) from error
        if faults:
            shown = [f"{fault.json_path}: {fault.message[:_LONGEST_FAULT]}" for fault in faults[:_MAX_FAULTS]]
            more = f" And {len(faults) - _MAX_FAULTS} more." if len(faults) > _MAX_FAULTS else ""
            raise UnusableAnswer("It does not fit the JSON Schema. " + "; ".join(shown) + more)
