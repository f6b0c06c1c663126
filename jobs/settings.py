"""The settings of a run: what they are called, what they mean and what they may be.

The rule: each setting is declared once. Its option, its environment variable, its key in a TOML file, its help and its
JSON Schema all follow from the declaration. This module does not know where values come from (``resolution``) or how
options are made (``options``).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ByteSize, Field, field_validator
from pydantic_core import PydanticCustomError

from lvm_batch.jobs.declared import CONTRADICTION, Settings, Shown, names_of
from lvm_batch.lvm.thresholds import Thresholds

_CARD = Thresholds()  # the model cards' own

Text = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Column = Annotated[Text, Shown("Column names", "NAME")]

_FILES = Shown("Files")
_MODELS = Shown("Models")
_ROUTING = Shown("Routing")
_RUNNING = Shown("Running")


class DatasetSettings(Settings):
    """How a dataset is to be understood: what every command that reads one can be told."""

    dataset: Annotated[tuple[Text, ...], Shown("Arguments", "DATASET")] = Field(
        default=(), description="Parquet files, folders, globs or URLs to read."
    )
    layout: Annotated[Literal["auto", "windows", "sequences"], _FILES] = Field(
        default="auto", description="What a row is: a whole context, or one vector of an article."
    )

    context_column: Column = Field(default="context", description="Five vectors, in windows.")
    vector_column: Column = Field(default="vector", description="One vector, in sequences.")
    target_column: Column = Field(default="target", description="The true next vector.")
    lane_column: Column = Field(default="lane", description="The row's lane.")
    context_tokens_column: Column = Field(
        default="context_tokens", description="Tokens of the whole context."
    )
    tokens_column: Column = Field(default="tokens", description="Tokens of one row, in sequences.")
    split_column: Column = Field(default="split", description="in_dist or ood.")
    article_column: Column = Field(
        default="article_id", description="Which article a row is of, in sequences."
    )
    position_column: Column = Field(default="position", description="Place in the article, in sequences.")


class RunSettings(DatasetSettings):
    """Everything that a run can be told.

    Keys of a TOML file are these names; paths are relative to where the command is called.
    """

    output: Annotated[str, Shown("Files", "OUT")] = Field(
        default="", description="Folder or URL to write to; the same job resumes there."
    )
    history: Annotated[Text | None, _FILES] = Field(
        default=None, description="Folder or URL that gets a small file about each run, for monitor."
    )
    pad: Annotated[Literal["repeat", "zero", "reject"] | None, _FILES] = Field(
        default=None,
        description="What stands in for missing vectors of a short context. Unless given, windows repeat"
        " their first vector, and the first rows of an article in sequences get no prediction.",
    )
    on_bad_file: Annotated[Literal["fail", "skip"], _FILES] = Field(
        default="fail", description="Whether an unreadable file stops the job before it starts."
    )
    max_bad_rows: Annotated[Rate, _FILES] = Field(
        default=0.01, description="Fraction of bad_input rows above which the job fails."
    )
    output_dtype: Annotated[Literal["float32", "float16"], _FILES] = Field(
        default="float32", description="Type of the values of a prediction."
    )
    rename: Annotated[tuple[Annotated[str, Field(pattern=r"^[^=]+=.+$")], ...], Shown("Files", "OLD=NEW")] = (
        Field(
            default=(),
            description="New name of a carried column; repeatable.",
            examples=["route=old_route"],
        )
    )

    model: Annotated[Text | None, Shown("Models", "CKPT")] = Field(
        default=None, description="Primary checkpoint: a path, or a name under the models folder."
    )
    fallback: Annotated[Text | None, Shown("Models", "CKPT")] = Field(
        default=None, description="Checkpoint that escalated rows are run through."
    )
    bank: Annotated[Text | None, Shown("Models", "PATH")] = Field(
        default=None, description="Bank of vectors that confidence and margin are measured against."
    )
    models_dir: Annotated[Text, Shown("Models", "DIR")] = Field(
        default="artifacts/lvm/models", description="Folder of named models, with their roles beside it."
    )
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], _MODELS] = Field(
        default="auto", description="Where models run."
    )
    precision: Annotated[Literal["fp32", "int8"], _MODELS] = Field(
        default="fp32",
        description="Arithmetic that models run in. int8 is faster and a little off; it needs a CPU.",
    )

    min_confidence: Annotated[Cosine, _ROUTING] = Field(
        default=_CARD.min_confidence, description="A row with a lower confidence is escalated."
    )
    min_margin: Annotated[float, Field(ge=0, le=2), _ROUTING] = Field(
        default=_CARD.min_margin, description="A row with a lower margin is escalated."
    )
    max_context_tokens: Annotated[int, Field(ge=0), _ROUTING] = Field(
        default=int(_CARD.max_context_tokens), description="A row with more context tokens is escalated."
    )
    high_stakes_lane: Annotated[tuple[Text, ...], Shown("Routing", "LANE")] = Field(
        default=_CARD.high_stakes_lanes, description="A row of this lane is escalated; repeatable."
    )
    max_fallback_rate: Annotated[Rate, _ROUTING] = Field(
        default=0.20, description="Fraction of rows that may be escalated."
    )
    fallback_policy: Annotated[Literal["warn", "cap", "fail"], _ROUTING] = Field(
        default="warn", description="What happens above that fraction."
    )
    shadow_rate: Annotated[Rate, _ROUTING] = Field(
        default=0.01, description="Fraction of rows run through both models to compare them."
    )

    workers: Annotated[Annotated[int, Field(ge=1)] | None, _RUNNING] = Field(
        default=None, description="Worker processes; unless given, what the machine holds."
    )
    unit_timeout: Annotated[float, Field(gt=0), Shown("Running", "SECONDS")] = Field(
        default=3600, description="Time that a work unit may take before its worker is given up."
    )
    memory_limit: Annotated[Annotated[ByteSize, Field(gt=0)] | None, Shown("Running", "SIZE")] = Field(
        default=None,
        description="Memory that each worker may use; unless given, its share of the machine. A job that would need"
        " more is refused before it starts.",
        examples=["2GiB", "900MB"],
    )
    scheduler: Annotated[Text | None, Shown("Running", "ADDRESS")] = Field(
        default=None,
        description="Dask scheduler to run on, such as tcp://host:8786, in place of local workers.",
    )
    unit_size: Annotated[ByteSize, Field(gt=0), Shown("Running", "SIZE")] = Field(
        default=ByteSize(64 * 2**20),
        description="Decoded input bytes of a work unit, never less than a row group.",
        examples=["64MiB", "200MB"],
    )

    @field_validator("rename")
    @classmethod
    def _refuse_contradictions(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        """The last of them would win in silence."""
        for part, is_given in enumerate(("is renamed twice", "is the new name of two columns")):
            known: dict[str, str] = {}
            for pair in pairs:
                name = pair.split("=", 1)[part]
                if name in known:
                    told = {"name": name, "is_given": is_given, "first": known[name], "second": pair}
                    raise PydanticCustomError(
                        CONTRADICTION, "`{name}` {is_given}: {first} and {second}", told
                    )
                known[name] = pair
        return pairs

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of the routing policy, as the policy takes them."""
        return Thresholds(
            min_confidence=self.min_confidence,
            min_margin=self.min_margin,
            max_context_tokens=self.max_context_tokens,
            high_stakes_lanes=self.high_stakes_lane,
        )


SETTINGS = names_of(RunSettings)
