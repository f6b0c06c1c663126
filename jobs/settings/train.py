"""The settings of a training.

The rule: a setting that is not given follows from the recipe.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lvm_batch.jobs.settings.dataset import DatasetSettings
from lvm_batch.jobs.settings.fields import NO_EFFECT, OUTPUT, RESOLVED, HelpMark
from lvm_batch.jobs.settings.paths import OutputText

_FILES = HelpMark("Files")
_TRAINING = HelpMark("Training")

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class TrainSettings(DatasetSettings):
    """The settings of a training."""

    output: Annotated[OutputText, HelpMark("Files", "DIR", common=True), NO_EFFECT] = Field(
        default="", description="Folder to write the model to; the same training resumes there."
    )
    arch: Annotated[
        Literal["amn", "amn-mixer", "gru", "lstm", "transformer", "lstm-v0", "transformer-v0"] | None,
        HelpMark("Training", "NAME", common=True),
        OUTPUT,
    ] = Field(
        default=None,
        description="Architecture: amn, amn-mixer, gru, lstm or transformer; lstm-v0 and transformer-v0 have the sizes"
        " that the v0 cards print.",
    )
    recipe: Annotated[Literal["unseen", "v0", "v1"], _TRAINING, RESOLVED] = Field(
        default="unseen",
        description="How to train: for unseen articles, or as one of the cards says.",
    )
    seed: Annotated[Annotated[int, Field(ge=0, lt=2**63)], HelpMark("Training", common=True), OUTPUT] = Field(
        default=0, description="Random seed for the split, the initial weights and the order of windows."
    )
    epochs: Annotated[Count | None, HelpMark("Training", common=True), RESOLVED] = Field(
        default=None, description="Epochs to train for. Default: the recipe's."
    )
    batch_size: Annotated[Count | None, _TRAINING, RESOLVED] = Field(
        default=None, description="Windows in a batch. Default: the recipe's."
    )
    learning_rate: Annotated[Positive | None, _TRAINING, RESOLVED] = Field(
        default=None, description="Highest learning rate of AdamW. Default: the recipe's."
    )
    weight_decay: Annotated[Annotated[float, Field(ge=0)] | None, _TRAINING, RESOLVED] = Field(
        default=None, description="Weight decay of AdamW. Default: the recipe's."
    )
    schedule: Annotated[Literal["cosine", "plateau", "constant"] | None, _TRAINING, RESOLVED] = Field(
        default=None,
        description="How the rate falls: along a cosine, by half when the validation loss stops falling, or "
        "not. Default: the recipe's.",
    )
    patience: Annotated[Count | None, _TRAINING, RESOLVED] = Field(
        default=None,
        description="Stop training after this many epochs without a better validation cosine. Default: the recipe's.",
    )
    validation_share: Annotated[Annotated[float, Field(gt=0, lt=1)], _TRAINING, RESOLVED] = Field(
        default=0.1, description="Share of the articles to hold out for validation."
    )
    context_length: Annotated[Count | None, _TRAINING, RESOLVED] = Field(
        default=None,
        description="Vectors in a context. Unless given, as in the type of the data's contexts, else 5.",
    )
    input_norm: Annotated[Literal["as_is", "unit"], _TRAINING, RESOLVED] = Field(
        default="as_is",
        description="Whether to scale the vectors of contexts to unit norm. The checkpoint records it, and "
        "every use of the model does the same.",
    )
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], HelpMark("Training", common=True), NO_EFFECT] = (
        Field(default="auto", description="Where the model is trained.")
    )
