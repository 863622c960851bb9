"""Columns of type ``image``: a picture a model draws from a prompt, kept as a file beside the run database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from rowmill.errors import GeneratorError
from rowmill.generators.file_directory import FileDirectory
from rowmill.generators.prompting.media import MediaContext, media_parts, media_references
from rowmill.generators.protocol import Call, CellGenerator, Model, Runtime
from rowmill.generators.rendering import rendered
from rowmill.generators.template_field import template_references
from rowmill.spec.column import ColumnConfig, Items
from rowmill.spec.declaration import Declaration, DeclareContext, Output, Strategy
from rowmill.spec.registry import register_column_type
from rowmill.spec.template import Template
from rowmill.task import Row


@register_column_type
class ImageColumn(ColumnConfig):
    """The name of the picture's file, relative to the directory ``<database>.files``."""

    column_type: Literal["image"] = "image"
    model_alias: str = Field(min_length=1)
    """A model of the spec that draws."""
    prompt: str = Field(min_length=1)
    """What to draw: a Jinja template. An empty one rejects its row."""
    multi_modal_context: Items[MediaContext] | None = None
    """Pictures to start from, as of ``llm-text``; the model must draw in chats (``image_route: chat``)."""

    def declare(self, context: DeclareContext) -> Declaration:
        """One picture a row."""
        place = f"columns.{context.index}"
        model = context.spec.model_of(self.model_alias)
        media = self.multi_modal_context or ()
        if media and model is not None and model.image_route != "chat":
            context.problem(
                f"{place}.multi_modal_context",
                f"Model '{self.model_alias}' takes pictures to start from only with image_route: chat.",
            )
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=(*template_references(context, self.prompt, "prompt"), *media_references(context, media)),
            outputs=(Output(self.name, "VARCHAR", drop=self.drop),),
            strategy=Strategy.CELL,
            reason="one request a row",
            resource=context.endpoint(self.model_alias, f"{place}.model_alias"),
            timeout_s=model.timeout_s * 2 if model else None,
            models={self.model_alias: "image"},
            can_answer_differently=True,
            propagate_skip=self.propagate_skip,
            fingerprint={
                "prompt": self.prompt,
                "multi_modal_context": [one.model_dump(mode="json") for one in media],
                "model": model.fingerprint() if model else None,
                "route": model.image_route if model else None,
            },
        )

    def bind(self, runtime: Runtime) -> CellGenerator:
        """The model, and where files go."""
        return ImageGenerator(self, runtime.model(self.model_alias), runtime.files)


class ImageGenerator(CellGenerator):
    """Has a picture drawn and writes its file."""

    def __init__(self, column: ImageColumn, model: Model, files: FileDirectory) -> None:
        self._column = column
        self._model = model
        self._files = files
        self._prompt = Template(column.prompt, f"{column.name}.prompt")

    async def generate(self, row: Row, call: Call) -> Sequence[Any]:
        """The name of the file, which is on the disk when this returns."""
        prompt = await rendered(self._prompt, row)
        if not prompt.strip():
            raise GeneratorError(f"The prompt of column '{self._column.name}' is empty for this row.", "EmptyPrompt")
        parts = await media_parts(self._column.multi_modal_context or (), row, self._files)
        image = await self._model.draw(prompt, parts, call)
        return [await self._files.write(self._column.name, call.draw_id, image.format, image.content)]
