"""Everything a spec is built from, to build one in Python: each class has the fields of the spec, typed.

    from rowmill import config

    spec = config.Spec(
        records=100,
        columns=[
            config.SamplerColumn(
                name="rating", sampler_type="category", params=config.CategoryParameters(values=[1, 2, 3])
            ),
            config.ExpressionColumn(name="stars", expr="{{ rating }} of 3"),
        ],
    )
    rowmill.run(spec)

Objects are checked where they are made (pydantic's ``ValidationError``, a ``ValueError``) and never change.

A class is called what it stands for in a spec: ``Model``, ``SeedDataset``, ``Skip``, ``SamplerColumn``. The names with
``Config`` behind them are older, and mean the same classes.
"""

from __future__ import annotations

from rowmill.generators.custom.column import CustomColumn
from rowmill.generators.custom.decorator import generator
from rowmill.generators.expression import ExpressionColumn
from rowmill.generators.over_dataset import DeduplicateColumn, RankColumn, SelectColumn
from rowmill.generators.prompting.embedding import EmbeddingColumn
from rowmill.generators.prompting.image import ImageColumn
from rowmill.generators.prompting.llm_code import LlmCodeColumn
from rowmill.generators.prompting.llm_judge import LlmJudgeColumn, Score
from rowmill.generators.prompting.llm_structured import LlmStructuredColumn
from rowmill.generators.prompting.llm_text import LlmTextColumn
from rowmill.generators.prompting.media import AudioContext, ImageContext, VideoContext
from rowmill.generators.samplers.category_parameters import CategoryParameters, SubcategoryParameters
from rowmill.generators.samplers.count_parameters import BinomialParameters, PoissonParameters
from rowmill.generators.samplers.distribution_parameters import BernoulliMixtureParameters, ScipyParameters
from rowmill.generators.samplers.faker_person import FakerPersonParameters
from rowmill.generators.samplers.parameters import (
    BernoulliParameters,
    DatetimeParameters,
    GaussianParameters,
    TimedeltaParameters,
    UniformParameters,
    UuidParameters,
)
from rowmill.generators.samplers.person_file import PersonParameters
from rowmill.generators.samplers.sampler import SamplerColumn
from rowmill.generators.seed_dataset import SeedDatasetColumn
from rowmill.generators.validation import ValidationColumn
from rowmill.generators.validators.parameters import (
    CodeParameters,
    FunctionParameters,
    RemoteParameters,
    SchemaParameters,
    SqlParameters,
)
from rowmill.spec.column import ColumnConfig, SkipConfig
from rowmill.spec.constraint import ColumnInequality, ScalarInequality
from rowmill.spec.distribution import (
    ManualDistribution,
    ManualDistributionParameters,
    UniformDistribution,
    UniformDistributionParameters,
)
from rowmill.spec.model import InferenceParameters, ModelConfig, SimulationConfig
from rowmill.spec.processor import DropColumnsProcessor, SchemaTransformProcessor, SplitProcessor
from rowmill.spec.records import AcceptedRecords
from rowmill.spec.run_settings import OtelSettings, RunSettings
from rowmill.spec.seed import SeedDatasetConfig
from rowmill.spec.seed_selection import IndexRange, PartitionBlock
from rowmill.spec.spec import Spec
from rowmill.spec.tools import LocalToolProvider, RemoteToolProvider, ToolConfig

Column = ColumnConfig
Model = ModelConfig
SeedDataset = SeedDatasetConfig
Simulation = SimulationConfig
Skip = SkipConfig
Tool = ToolConfig

__all__ = [
    "AcceptedRecords",
    "AudioContext",
    "BernoulliMixtureParameters",
    "BernoulliParameters",
    "BinomialParameters",
    "CategoryParameters",
    "CodeParameters",
    "Column",
    "ColumnConfig",
    "ColumnInequality",
    "CustomColumn",
    "DatetimeParameters",
    "DeduplicateColumn",
    "DropColumnsProcessor",
    "EmbeddingColumn",
    "ExpressionColumn",
    "FakerPersonParameters",
    "FunctionParameters",
    "GaussianParameters",
    "ImageColumn",
    "ImageContext",
    "IndexRange",
    "InferenceParameters",
    "LlmCodeColumn",
    "LlmJudgeColumn",
    "LlmStructuredColumn",
    "LlmTextColumn",
    "LocalToolProvider",
    "ManualDistribution",
    "ManualDistributionParameters",
    "Model",
    "ModelConfig",
    "OtelSettings",
    "PartitionBlock",
    "PersonParameters",
    "PoissonParameters",
    "RankColumn",
    "RemoteParameters",
    "RemoteToolProvider",
    "RunSettings",
    "SamplerColumn",
    "ScalarInequality",
    "SchemaParameters",
    "SchemaTransformProcessor",
    "ScipyParameters",
    "Score",
    "SeedDataset",
    "SeedDatasetColumn",
    "SeedDatasetConfig",
    "SelectColumn",
    "Simulation",
    "SimulationConfig",
    "Skip",
    "SkipConfig",
    "Spec",
    "SplitProcessor",
    "SqlParameters",
    "SubcategoryParameters",
    "TimedeltaParameters",
    "Tool",
    "ToolConfig",
    "UniformDistribution",
    "UniformDistributionParameters",
    "UniformParameters",
    "UuidParameters",
    "ValidationColumn",
    "VideoContext",
    "generator",
]
