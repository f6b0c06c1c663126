"""Schedules of the learning rate: torch's schedulers behind one interface.

The rule: the caller reports the end of each step and of each epoch; the schedule sets the optimiser's rate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from lvm_batch.lvm.training.recipes import Recipe

_PLATEAU_FACTOR, _PLATEAU_PATIENCE = 0.5, 3  # from the comparison of architectures that the cards belong to


class Schedule:
    """A learning rate that depends on the step alone, or one that halves when the loss stops falling."""

    def __init__(self, by_step: LambdaLR, by_loss: ReduceLROnPlateau | None) -> None:
        self._by_step, self._by_loss = by_step, by_loss

    def end_step(self) -> None:
        """Set the rate of the next step."""
        if self._by_loss is None:
            self._by_step.step()

    def end_epoch(self, loss: float) -> None:
        """Set the rate of the next epoch after one with this loss."""
        if self._by_loss is not None and math.isfinite(loss):
            self._by_loss.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, for a training that is resumed."""
        return {
            "by_step": self._by_step.state_dict(),
            "by_loss": self._by_loss and self._by_loss.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that :meth:`state_dict` returned."""
        self._by_step.load_state_dict(state["by_step"])
        if self._by_loss is not None:
            self._by_loss.load_state_dict(state["by_loss"])


def make_schedule(optimizer: Optimizer, recipe: Recipe, *, n_steps: int) -> Schedule:
    """Return the recipe's schedule over ``n_steps`` steps."""
    if recipe.schedule == "plateau":
        by_loss = ReduceLROnPlateau(optimizer, factor=_PLATEAU_FACTOR, patience=_PLATEAU_PATIENCE)
        return Schedule(LambdaLR(optimizer, lambda _: 1.0), by_loss)
    falls = recipe.schedule == "cosine"

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1.0, recipe.warmup * n_steps))
        return rise * (0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, n_steps)))) if falls else 1.0)

    return Schedule(LambdaLR(optimizer, factor), None)
