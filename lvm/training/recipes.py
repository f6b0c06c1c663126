"""Recipes for training: those of the cards, and one for predictions on unseen articles.

The rule: every figure is a card's or was measured, and says which.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

Schedule = Literal["cosine", "plateau", "constant"]

_LATER = frozenset({"dropout", "averaging", "taught_by"})  # settings that the first recipes did not have


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a training by AdamW on the mean squared error, with gradients clipped to ``max_gradient_norm``.

    ``schedule`` sets how the learning rate falls: along half a cosine, by half after three epochs without a lower
    validation loss, or not at all; before that it rises over the share ``warmup`` of all steps. Training stops after
    ``patience`` epochs without a better validation cosine. ``beginning`` "ridge" fits the last layer to ridge
    regression before the first step. ``teaching`` is the share of the loss that is measured against ridge regression's
    prediction instead of the target. With ``both_directions`` the model is also trained on reversed windows.

    With ``taught_by`` a model of that architecture, trained on the same windows before, teaches in the place of ridge
    regression.

    ``dropout`` is the share of the features before the last layers that a step drops. With ``averaging`` the judged and
    kept weights are running averages, of which a step keeps that share.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    schedule: Schedule = "plateau"
    warmup: float = 0.0
    patience: int | None = None
    max_gradient_norm: float = 1.0
    beginning: Literal["random", "ridge"] = "random"
    teaching: float = 0.0
    both_directions: bool = False
    dropout: float = 0.0
    averaging: float = 0.0
    taught_by: str | None = None

    def identity(self) -> dict[str, Any]:
        """Return the settings by which trainings are told apart: those that came later only where they are used.

        So a folder that an earlier version finished or began by a recipe that has not changed is still the same
        training.
        """
        later = {field.name: field.default for field in fields(self) if field.name in _LATER}
        return {name: value for name, value in asdict(self).items() if later.get(name, ...) != value}


CARDS = {
    "v0": Recipe(epochs=30, batch_size=512, learning_rate=1e-3),
    "v1": Recipe(epochs=20, batch_size=32, learning_rate=5e-4),
}
"""The recipes of the models' cards, for 80,000 and 543,556 windows. Learning rate, decay, batch and epochs are the
cards'; halving the rate on a plateau comes from the same project's comparison of architectures."""

_AVERAGING = (
    0.998  # an average over about 500 steps, or over a ninth of them while there are fewer than 4,500
)
_UNSEEN = Recipe(
    epochs=8,
    batch_size=256,
    learning_rate=2e-3,
    schedule="cosine",
    warmup=0.1,
    beginning="ridge",
    both_directions=True,
)
UNSEEN = {
    "amn": replace(_UNSEEN, dropout=0.2, averaging=_AVERAGING),
    "amn-mixer": replace(_UNSEEN, learning_rate=1e-3, averaging=_AVERAGING),
    "gru": replace(_UNSEEN, epochs=4, learning_rate=5e-4),
    "lstm": replace(_UNSEEN, epochs=4, learning_rate=5e-4),
    "transformer": replace(_UNSEEN, epochs=3, learning_rate=3e-4),
}
"""The best recipes for unseen articles among those measured in tests/benchmarks/training.md."""

_TAUGHT = 22_000  # the number of windows that weigh as much as ridge regression
MANY = {
    "gru": replace(
        UNSEEN["gru"],
        epochs=6,
        learning_rate=1e-3,
        averaging=_AVERAGING,
        taught_by="amn-mixer",
        teaching=0.6,
    )
}
"""Those for more windows than that, where they differ: on few windows no model teaches more than ridge regression."""

_STEPS = 250  # the least number of steps, since the first ones are large


def recipe_for(name: str, architecture: str, *, n_windows: int) -> Recipe:
    """Return the recipe of that name, "unseen", "v0" or "v1", for an architecture and a number of windows.

    With "unseen", fewer windows mean a larger share of the loss against ridge regression, and more epochs, to make
    enough steps; on many windows a better model than ridge regression may teach.
    """
    if name in CARDS:
        return CARDS[name]
    recipe = MANY.get(architecture, UNSEEN[architecture]) if n_windows > _TAUGHT else UNSEEN[architecture]
    steps = math.ceil(2 * n_windows / recipe.batch_size)
    teaching = recipe.teaching if recipe.taught_by else round(_TAUGHT / (_TAUGHT + n_windows), 3)
    return replace(recipe, teaching=teaching, epochs=max(recipe.epochs, math.ceil(_STEPS / max(1, steps))))
