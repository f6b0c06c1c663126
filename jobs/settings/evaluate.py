"""The settings of an evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lvm_batch.jobs.settings.dataset import DatasetSettings
from lvm_batch.jobs.settings.fields import NO_EFFECT, OUTPUT, RESOLVED, HelpMark
from lvm_batch.jobs.settings.paths import LocalPath, PathText
from lvm_batch.jobs.settings.run import Rate
from lvm_batch.lvm.inference.thresholds import OwnContext
from lvm_batch.lvm.registry.registry import DEFAULT_MODELS_DIR

_JUDGING = HelpMark("Judging")


class EvaluateSettings(DatasetSettings):
    """The settings of an evaluation."""

    output: Annotated[PathText | None, HelpMark("Files", "DIR", common=True), NO_EFFECT] = Field(
        default=None, description="Folder for the results as JSON, the table as Markdown, and the plots."
    )
    model: Annotated[tuple[PathText, ...], HelpMark("Models", "CKPT", common=True), RESOLVED] = Field(
        default=(),
        description="Checkpoint to evaluate: a path, or a name under the models folder; repeatable.",
    )
    fallback: Annotated[PathText | None, HelpMark("Models", "CKPT"), RESOLVED] = Field(
        default=None, description="With --calibrate: the checkpoint for escalated rows."
    )
    bank: Annotated[PathText | None, HelpMark("Models", "PATH", common=True), RESOLVED] = Field(
        default=None, description="Bank of vectors for retrieval, and for confidence and margin."
    )
    own_context: Annotated[OwnContext, _JUDGING, OUTPUT] = Field(
        default="drop",
        description="Whether a row's own context vectors in the bank count in retrieval, confidence and margin: "
        "drop leaves them out.",
    )
    models_dir: Annotated[LocalPath, HelpMark("Models", "DIR"), RESOLVED] = Field(
        default=str(DEFAULT_MODELS_DIR), description="Folder of named models, with their roles beside it."
    )
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], HelpMark("Models", common=True), NO_EFFECT] = (
        Field(default="auto", description="Where models run.")
    )
    context_length: Annotated[Annotated[int, Field(ge=1)] | None, _JUDGING, OUTPUT] = Field(
        default=None, description="Vectors in a context. Unless given, as many as the models were trained on."
    )
    budget: Annotated[Rate, _JUDGING, OUTPUT] = Field(
        default=0.20, description="With --calibrate: the fraction of rows that may be escalated."
    )
    resamples: Annotated[Annotated[int, Field(ge=100)], _JUDGING, OUTPUT] = Field(
        default=1000, description="Bootstrap samples for confidence intervals."
    )
    seed: Annotated[Annotated[int, Field(ge=0)], _JUDGING, OUTPUT] = Field(
        default=0, description="Random seed of the bootstrap."
    )
