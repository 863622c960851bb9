"""Processors and the columns they speak of: which columns they drop, and what is wrong with their templates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pydantic import JsonValue

from rowmill.errors import Problem, SpecError
from rowmill.spec.declaration import Declaration
from rowmill.spec.nearest import did_you_mean
from rowmill.spec.processor import (
    DropColumnsProcessor,
    ProcessorConfig,
    SchemaTransformProcessor,
    SplitProcessor,
    texts_of,
)
from rowmill.spec.template import Template

_ALWAYS_THERE = "row_id"


def dropping(declarations: Sequence[Declaration], processors: Sequence[ProcessorConfig]) -> list[Declaration]:
    """The declarations with the outputs marked ``drop`` that a ``drop_columns`` processor drops."""
    droppers = [each for each in processors if isinstance(each, DropColumnsProcessor)]
    if not droppers:
        return list(declarations)
    return [
        dataclasses.replace(
            declaration,
            outputs=tuple(
                dataclasses.replace(output, drop=output.drop or any(each.drops(output.name) for each in droppers))
                for output in declaration.outputs
            ),
        )
        for declaration in declarations
    ]


def processor_problems(
    declarations: Sequence[Declaration], processors: Sequence[ProcessorConfig], *, knows_all: bool = True
) -> list[Problem]:
    """What is wrong with processors: patterns that fit no column, templates that name one that is not there.

    ``knows_all``: whether the declarations are all there are.
    """
    dropped = {output.name: output.drop for declaration in declarations for output in declaration.outputs}
    problems = []
    for index, processor in enumerate(processors):
        place = f"processors.{index}"
        if isinstance(processor, DropColumnsProcessor):
            for position, pattern in enumerate(processor.column_names):
                if knows_all and not any(
                    DropColumnsProcessor(name="one", column_names=(pattern,)).drops(name) for name in dropped
                ):
                    hint = did_you_mean(pattern, dropped)
                    problems.append(Problem(f"{place}.column_names.{position}", f"No column fits '{pattern}'.{hint}"))
        elif isinstance(processor, SplitProcessor):
            if processor.column in dropped or processor.column == _ALWAYS_THERE:
                message = f"'{processor.column}' is a column of the dataset already; name another."
                problems.append(Problem(f"{place}.column", message))
        elif isinstance(processor, SchemaTransformProcessor):
            problems += _template_problems(processor, place, dropped, knows_all)
    return problems


def _template_problems(
    processor: SchemaTransformProcessor, place: str, dropped: dict[str, bool], knows_all: bool
) -> list[Problem]:
    problems = []
    where = f"{place}.template" if processor.template is not None else f"{place}.parts"
    given: dict[str, JsonValue] = processor.template if processor.template is not None else {**processor.parts}
    for text, spot in texts_of(given, where):
        try:
            template = Template(text, spot)
        except SpecError as error:
            problems += error.problems
            continue
        for name in template.needed(dropped):
            if name == _ALWAYS_THERE or dropped.get(name) is False:
                continue
            if name in dropped:
                message = f"Column '{name}' is dropped, so that no processor sees it."
            elif not knows_all:
                continue
            else:
                message = f"Column '{name}' is not defined.{did_you_mean(name, dropped)}"
            problems.append(Problem(spot, message))
    return problems
