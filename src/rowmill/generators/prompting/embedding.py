"""Columns of type ``embedding``: the vector of another column's text."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rowmill.counted import plural
from rowmill.generators.custom.function import CustomFunction, FunctionProblem, load_function
from rowmill.generators.prompting.embedding_generator import EmbeddingFunction, EmbeddingGenerator, Vectors
from rowmill.generators.protocol import CellGenerator, Runtime
from rowmill.spec.column import ColumnConfig
from rowmill.spec.declaration import LOCAL, THREADS, Declaration, DeclareContext, Output, Reference, Strategy
from rowmill.spec.model import ModelConfig
from rowmill.spec.registry import register_column_type

_REQUESTS_TO_FIND_A_CULPRIT = 8
"""Of one rejected request: how many further ones its deadline leaves room for."""


@register_column_type
class EmbeddingColumn(ColumnConfig):
    """The vectors a model, or a Python function, makes of texts: many rows a request. Null stays null."""

    column_type: Literal["embedding"] = "embedding"
    target_column: str = Field(min_length=1)
    """A column of texts."""
    model_alias: str | None = Field(default=None, min_length=1)
    """A model of the spec. Its ``inference_parameters`` may have ``dimensions`` and ``encoding_format``."""
    embedding_function: str | None = Field(default=None, pattern=r"^[^:]+:[^:]+$")
    """In place of ``model_alias``: ``module:function``, beside the spec or installed, sync or async, from a list of
    texts to a list of vectors."""
    dimensions: int | None = Field(default=None, strict=True, ge=1, le=100_000)
    """How long the vectors are: the column is then ``FLOAT[n]``, as ``array_cosine_similarity`` wants it, otherwise
    ``FLOAT[]``. Another length stops the run. Default: what the model is asked for."""
    max_rows_per_call: int = Field(default=64, strict=True, ge=1, le=100_000)
    """Texts in a request."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.model_alias is None) == (self.embedding_function is None):
            raise ValueError("Give either 'model_alias' or 'embedding_function'.")
        return self

    def declare(self, context: DeclareContext) -> Declaration:
        """One vector a row. Without a known length the column is a list, which fewer SQL functions take."""
        place = f"columns.{context.index}"
        model = context.spec.model_of(self.model_alias) if self.model_alias else None
        function = self._function(context, f"{place}.embedding_function")
        if self.model_alias is not None:
            resource = context.endpoint(self.model_alias, f"{place}.model_alias")
        else:
            resource = LOCAL if function is not None and function.is_async else THREADS
        length = self._length(model)
        asked = model.inference_parameters.dimensions if model else None
        if asked is not None and asked != length:
            context.problem(
                f"{place}.dimensions", f"Model '{self.model_alias}' is asked for {asked} dimensions, not {length}."
            )
        return Declaration(
            name=self.name,
            column_type=self.column_type,
            place=place,
            inputs=(Reference(self.target_column, f"{place}.target_column"),),
            outputs=(Output(self.name, f"FLOAT[{length}]" if length else "FLOAT[]", drop=self.drop),),
            strategy=Strategy.CELL,
            reason=f"up to {plural(self.max_rows_per_call, 'row')} a call",
            resource=resource,
            max_rows_per_call=self.max_rows_per_call,
            timeout_s=model.timeout_s * _REQUESTS_TO_FIND_A_CULPRIT if model else None,
            models={self.model_alias: "embedding"} if self.model_alias else {},
            propagate_skip=self.propagate_skip,
            fingerprint=self._source(model, function),
            source_sha256=function.source_sha256 if function else None,
        )

    def _length(self, model: ModelConfig | None) -> int | None:
        return self.dimensions or (model.inference_parameters.dimensions if model else None)

    def _function(self, context: DeclareContext, place: str) -> CustomFunction | None:
        if self.embedding_function is None:
            return None
        try:
            return load_function(self.embedding_function, context.spec_directory)
        except FunctionProblem as problem:
            context.problem(place, str(problem))
            return None

    def _source(self, model: ModelConfig | None, function: CustomFunction | None) -> dict[str, Any]:
        if self.embedding_function is None:
            return {"model": model.embedding_fingerprint() if model else None}
        return {"function": self.embedding_function, "code_sha256": function.code_sha256 if function else None}

    def bind(self, runtime: Runtime) -> CellGenerator:
        """The model or the function, ready to be asked."""
        vectors: Vectors
        length = self.dimensions
        if self.embedding_function is not None:
            vectors = EmbeddingFunction(self.name, load_function(self.embedding_function, runtime.spec_directory))
        else:
            model = runtime.model(self.model_alias or "")
            vectors, length = model.embed, self._length(model.config)
        return EmbeddingGenerator(self.name, self.target_column, length, vectors)
