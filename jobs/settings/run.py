"""The settings of a run.

The rule: each setting is declared once. Its option, its environment variable, its key in a TOML file, its help, its
JSON Schema and its part in the fingerprint follow from the declaration.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ByteSize, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from lvm_batch.jobs.settings.chosen import ChoiceSettings
from lvm_batch.jobs.settings.dataset import DatasetSettings
from lvm_batch.jobs.settings.fields import (
    CONTRADICTION,
    NO_EFFECT,
    OUTPUT,
    OUTPUT_UNLESS_DEFAULT,
    RESOLVED,
    HelpMark,
    names_of,
)
from lvm_batch.jobs.settings.paths import LocalPath, OutputText, PathText, Text
from lvm_batch.jobs.settings.selection import SelectionSettings
from lvm_batch.jobs.settings.types import Address, PingURL
from lvm_batch.jobs.settings.workers import WorkerSettings
from lvm_batch.lvm.inference.thresholds import OwnContext, Thresholds
from lvm_batch.lvm.registry.registry import DEFAULT_MODELS_DIR

_CARD = Thresholds()  # those of the model cards

MOST_NEIGHBOURS = 100
"""Neighbours of a prediction that are written at most."""

Rate = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]

_FILES = HelpMark("Files")
_MODELS = HelpMark("Models")
_ROUTING = HelpMark("Routing")


class RunSettings(SelectionSettings, ChoiceSettings, WorkerSettings):
    """Everything that a run can be told.

    Keys of a TOML file are these names; paths are relative to where the command is called,
    and `~` is the home folder.
    """

    output: Annotated[OutputText, HelpMark("Files", "OUT", common=True), NO_EFFECT] = Field(
        default="", description="Folder or URL to write to; the same job resumes there."
    )
    history: Annotated[PathText | None, HelpMark("Monitoring", "PATH"), NO_EFFECT] = Field(
        default=None, description="Folder or URL for a small file about each run, which monitor reads."
    )
    openlineage: Annotated[Text | None, HelpMark("Monitoring", "NAME"), NO_EFFECT] = Field(
        default=None,
        description="Name of this job in OpenLineage, to which the run reports what it reads and writes. Set "
        "the address in OPENLINEAGE_URL or openlineage.yml.",
    )
    opentelemetry: Annotated[Text | None, HelpMark("Monitoring", "NAME"), NO_EFFECT] = Field(
        default=None,
        description="Name of this service in OpenTelemetry, to which the run sends a span for itself and one for each "
        "unit. Set the address in OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    ping_url: Annotated[PingURL | None, HelpMark("Monitoring", "URL"), NO_EFFECT] = Field(
        default=None,
        description="URL to ping when the run starts, succeeds or fails, as healthchecks.io expects. Anyone "
        "with the URL can ping, so set it as LVM_BATCH_PING_URL to keep it out of process lists. It is never printed.",
        examples=["https://hc-ping.com/UUID"],
    )
    pad: Annotated[Literal["repeat", "zero", "reject"] | None, _FILES, OUTPUT] = Field(
        default=None,
        description="How to fill a context that has too few vectors. By default windows repeat"
        " their first vector, and the first rows of an article in sequences get no prediction.",
    )
    on_bad_file: Annotated[Literal["fail", "skip"], _FILES, RESOLVED] = Field(
        default="fail", description="Whether an unreadable file stops the job before it starts."
    )
    max_bad_rows: Annotated[Rate, _FILES, NO_EFFECT] = Field(
        default=0.01, description="Fraction of bad_input rows above which the job fails."
    )
    output_dtype: Annotated[Literal["float32", "float16", "int8", "binary"], _FILES, OUTPUT] = Field(
        default="float32",
        description="How predictions are stored: as floats, as codes of 8 bits, or as the signs of their components.",
    )
    rename: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[^=]+=.+$")], ...], HelpMark("Files", "OLD=NEW"), OUTPUT
    ] = Field(
        default=(),
        description="New name of a carried column; repeatable.",
        examples=["route=old_route"],
    )

    model: Annotated[PathText | None, HelpMark("Models", "CKPT", common=True), RESOLVED] = Field(
        default=None, description="Primary checkpoint: a path, or a name under the models folder."
    )
    fallback: Annotated[PathText | None, HelpMark("Models", "CKPT", common=True), RESOLVED] = Field(
        default=None, description="Checkpoint for escalated rows."
    )
    bank: Annotated[PathText | None, HelpMark("Models", "PATH", common=True), RESOLVED] = Field(
        default=None, description="Bank of vectors for confidence and margin."
    )
    release: Annotated[PathText | None, HelpMark("Models", "PATH"), RESOLVED] = Field(
        default=None,
        description="Folder written by `models release`: it sets the models, the router and the thresholds, and says "
        "which bank it needs.",
    )
    neighbours: Annotated[
        Annotated[int, Field(ge=0, le=MOST_NEIGHBOURS)], HelpMark("Files", "N"), OUTPUT_UNLESS_DEFAULT
    ] = Field(
        default=0,
        description="Nearest vectors of --bank to write for each prediction, as ids and cosines; the row's own "
        "context is left out.",
    )
    models_dir: Annotated[LocalPath, HelpMark("Models", "DIR"), RESOLVED] = Field(
        default=str(DEFAULT_MODELS_DIR), description="Folder of named models, with their roles beside it."
    )
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], HelpMark("Models", common=True), NO_EFFECT] = (
        Field(default="auto", description="Where models run.")
    )
    fallback_device: Annotated[Literal["cpu", "cuda", "mps"] | None, _MODELS, NO_EFFECT] = Field(
        default=None,
        description="Where the fallback runs; unless given, on the primary model's device, but on the CPU if "
        "that is mps.",
    )
    precision: Annotated[Literal["fp32", "tf32", "bf16", "fp16", "int8"], _MODELS, OUTPUT] = Field(
        default="fp32",
        description="Number format that models compute in. All but fp32 are slightly less exact and mostly faster:"
        " int8 needs a CPU, tf32 and fp16 need CUDA, bf16 runs on both.",
    )

    own_context: Annotated[OwnContext, _ROUTING, RESOLVED] = Field(
        default="drop",
        description="Whether a row's own context vectors in the bank count as neighbours of its prediction: "
        "drop leaves them out of confidence and margin.",
    )
    min_confidence: Annotated[Cosine, _ROUTING, OUTPUT] = Field(
        default=_CARD.min_confidence, description="A row with a lower confidence is escalated."
    )
    min_margin: Annotated[float, Field(ge=0, le=2), _ROUTING, OUTPUT] = Field(
        default=_CARD.min_margin, description="A row with a lower margin is escalated."
    )
    max_context_tokens: Annotated[int, Field(ge=0), _ROUTING, OUTPUT] = Field(
        default=int(_CARD.max_context_tokens), description="A row with more context tokens is escalated."
    )
    high_stakes_lane: Annotated[tuple[Text, ...], HelpMark("Routing", "LANE"), OUTPUT] = Field(
        default=_CARD.high_stakes_lanes, description="A row of this lane is escalated; repeatable."
    )
    router: Annotated[PathText | None, HelpMark("Routing", "PATH"), RESOLVED] = Field(
        default=None,
        description="Router fitted by evaluate --calibrate: it also escalates rows for which it expects the "
        "fallback to gain enough.",
    )
    max_fallback_rate: Annotated[Rate, _ROUTING, RESOLVED] = Field(
        default=0.20, description="Fraction of rows that may be escalated."
    )
    fallback_policy: Annotated[Literal["warn", "cap", "fail"], _ROUTING, RESOLVED] = Field(
        default="warn", description="What to do above that fraction."
    )
    max_fallback_loss: Annotated[Annotated[float, Field(ge=0, le=2)] | None, _ROUTING, NO_EFFECT] = Field(
        default=None,
        description="Mean cosine that escalated rows may lose to the fallback before the job fails. Needs targets.",
    )
    shadow_rate: Annotated[Rate, _ROUTING, OUTPUT] = Field(
        default=0.01, description="Fraction of rows that both models answer, to compare them."
    )

    metrics_file: Annotated[LocalPath | None, HelpMark("Monitoring", "FILE"), NO_EFFECT] = Field(
        default=None,
        description="File for node_exporter's textfile collector, *.prom, with the result of the run.",
    )
    dashboard: Annotated[Address | None, HelpMark("Monitoring", "ADDRESS"), NO_EFFECT] = Field(
        default=None,
        description="Address of Dask's dashboard while local workers compute; :0 takes any free port.",
        examples=["127.0.0.1:8787", "127.0.0.1:0"],
    )
    performance_report: Annotated[PathText | None, HelpMark("Monitoring", "FILE"), NO_EFFECT] = Field(
        default=None, description="HTML file for Dask's performance report."
    )
    unit_size: Annotated[ByteSize, Field(gt=0), HelpMark("Workers", "SIZE"), RESOLVED] = Field(
        default=ByteSize(64 * 2**20),
        description="Decoded input bytes of a work unit, never less than a row group.",
        examples=["64MiB", "200MB"],
    )

    @field_validator("neighbours")
    @classmethod
    def _refuse_neighbours_of_nothing(cls, neighbours: int, info: ValidationInfo) -> int:
        if neighbours and "bank" in info.data and info.data["bank"] is None:
            raise PydanticCustomError(
                CONTRADICTION,
                "there is no bank to find neighbours in",
                {"hint": "give --bank PATH; lvm-batch bank build VECTORS --output BANK makes one"},
            )
        return neighbours

    @field_validator("rename")
    @classmethod
    def _refuse_contradictions(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse a column that is renamed twice or a new name that is used twice: the last would win silently."""
        for part, is_given in enumerate(("is renamed twice", "is the new name of two columns")):
            known: dict[str, str] = {}
            for pair in pairs:
                name = pair.split("=", 1)[part]
                if name in known:
                    context = {"name": name, "is_given": is_given, "first": known[name], "second": pair}
                    raise PydanticCustomError(
                        CONTRADICTION, "`{name}` {is_given}: {first} and {second}", context
                    )
                known[name] = pair
        return pairs

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of the routing policy."""
        return Thresholds(
            min_confidence=self.min_confidence,
            min_margin=self.min_margin,
            max_context_tokens=self.max_context_tokens,
            high_stakes_lanes=self.high_stakes_lane,
        )


SETTINGS = names_of(RunSettings)

MACHINE_SETTINGS = ("model", "fallback", "models_dir", "bank", "precision", "workers")
"""Those that hold for all that ``bench`` measures; there every other has its default, whatever a file says."""

BENCH_SETTINGS = (
    *names_of(DatasetSettings),
    *("pad", *MACHINE_SETTINGS, "min_confidence", "min_margin", "max_context_tokens", "high_stakes_lane"),
)
"""Those that ``bench`` takes, in the order of its help."""

INSPECTED = (
    *names_of(DatasetSettings),
    *("pad", "unit_size", "max_bad_rows", "model", "fallback", "bank", "models_dir"),
)
"""Those that ``inspect`` takes."""
