"""Fields that hold templates: what they refer to, and what is wrong with them."""

from __future__ import annotations

from rowmill.errors import SpecError
from rowmill.spec.declaration import DeclareContext, Reference, named_in
from rowmill.spec.template import Template


def template_references(context: DeclareContext, text: str | None, field: str) -> tuple[Reference, ...]:
    """The columns the template in this field of the column names; its faults become problems of the spec."""
    if text is None:
        return ()
    place = f"columns.{context.index}.{field}"
    try:
        template = Template(text, place)
    except SpecError as error:
        for problem in error.problems:
            context.problem(problem.place, problem.message)
        return ()
    return named_in(template, place)
