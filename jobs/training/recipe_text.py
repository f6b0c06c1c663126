"""The recipe of a training in words: for the notice at its start and for the model card.

The rule: what follows from the number of windows is told with that number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.lvm.training.recipes import Recipe


def recipe_notice(name: str, recipe: Recipe, *, n_windows: int) -> str:
    """Return which recipe a training takes, and why."""
    epochs = plural(recipe.epochs, "epoch")
    if name != "unseen":
        return f"recipe {name} of the models' cards: {epochs}"
    teacher = "ridge regression (the fewer windows, the more)"
    if recipe.taught_by:
        teacher = f"{recipe.taught_by}, which is trained first"
    share = f"{recipe.teaching:.0%} of the loss against {teacher}"
    return f"recipe unseen for {plural(n_windows, 'window')}: {epochs}, {share}"


def recipe_parts(recipe: Mapping[str, Any]) -> str:
    """Return what a recipe, as its values, does beside the mean squared error, as a list that begins with a comma."""
    parts = [
        (
            recipe["teaching"],
            f"{recipe['teaching']:.0%} of it against {recipe.get('taught_by') or 'ridge regression'}",
        ),
        (recipe["both_directions"], "windows also backwards"),
        (recipe.get("dropout"), f"{recipe.get('dropout', 0):.0%} of the last features dropped"),
        (recipe.get("averaging"), "weights averaged over steps"),
        (recipe["beginning"] == "ridge", "last layer begun at ridge regression"),
    ]
    return "".join(f", {text}" for used, text in parts if used)
