"""Fit a model to windows: contexts and the vectors that follow them.

The one rule: on a CPU the result follows from the data, the recipe and the seed alone. Does not know where
windows come from, how they are split into training and validation, or where weights are kept.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.arrays import as_tensor
from lvm_batch.lvm.beginnings import begin_near_mean
from lvm_batch.lvm.cosines import row_cosines
from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.inference import Predictor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from torch import Tensor

    from lvm_batch.lvm.context_model import ContextModel

    Floats = npt.NDArray[np.float32]
    Windows = tuple[Floats, Floats]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: AdamW on the mean squared error, with a warm-up and a cosine decay of the learning rate.

    ``warmup`` is the share of all steps over which the rate rises. Gradients are clipped to a norm of
    ``max_gradient_norm``.
    """

    epochs: int = 12
    batch_size: int = 512
    learning_rate: float = 5e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0


RECIPES = {
    "amn": Recipe(epochs=8, learning_rate=3e-4),
    "gru": Recipe(epochs=3, learning_rate=1e-5, batch_size=256),
}
"""Recipes for a few thousand windows, by architecture; more windows bear more steps and, for a GRU, a higher rate.

Measured 2026-11-23 over three splits by article, 1,100 to 1,500 windows to train on and 46 articles to judge by, as
cosine over that of the mean of the context: AMN +0.009 to +0.012 in 1 s, GRU +0.009 to +0.012 in 7 s on two cores.
At a rate of 1e-4 the GRU falls below the mean.
"""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch came to. Number 0 is the model before its first step; its ``train_loss`` is NaN.

    Losses are mean squared errors of one value. ``val_loss`` and ``val_cosine`` are None without validation
    windows.
    """

    number: int
    train_loss: float
    val_loss: float | None
    val_cosine: float | None


@dataclass(frozen=True, slots=True)
class History:
    """Every epoch in order, and the one whose weights were kept: the best by ``val_cosine``, or else the
    last.
    """

    epochs: tuple[Epoch, ...]
    best: Epoch


def fit(
    model: ContextModel,
    contexts: Floats,
    targets: Floats,
    *,
    recipe: Recipe,
    seed: int,
    validation: Windows | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train a model in place, on the device it is on, and leave it in eval mode with the weights of the best
    epoch.

    ``contexts`` is float32 (n, length, dim), ``targets`` float32 (n, dim), ``validation`` a pair of the same.
    ``on_epoch`` is called after each epoch, and before the first with number 0. The global random state is left
    as it was. Raises ModelError where there are no windows.
    """
    if not len(contexts):
        raise ModelError("there are no windows to train on", "give articles of at least six vectors")
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return _Training(model, contexts, targets, recipe=recipe, validation=validation).run(on_epoch)


class _Training:
    """The state of one training run."""

    def __init__(
        self,
        model: ContextModel,
        contexts: Floats,
        targets: Floats,
        *,
        recipe: Recipe,
        validation: Windows | None,
    ) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.contexts, self.targets = as_tensor(contexts), as_tensor(targets)
        self.recipe = recipe
        self.validation = validation
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        steps = recipe.epochs * math.ceil(len(contexts) / recipe.batch_size)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _rate(step, steps, recipe.warmup)
        )

    def run(self, on_epoch: Callable[[Epoch], None] | None) -> History:
        """Train every epoch, and put the best epoch's weights back."""
        epochs = []
        for epoch in self._epochs():
            epochs.append(epoch)
            if on_epoch:
                on_epoch(epoch)
            if _is_best(epochs):
                best, weights = epoch, copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(weights)
        self.model.eval()
        return History(tuple(epochs), best)

    def _epochs(self) -> Iterator[Epoch]:
        """Yield what the model is after each epoch, the beginning first."""
        begin_near_mean(self.model, self.contexts)
        yield self._measured(0, math.nan)
        for number in range(1, self.recipe.epochs + 1):
            yield self._measured(number, self._train_epoch())

    def _train_epoch(self) -> float:
        """Go once through the windows in random order. Returns the mean loss."""
        self.model.train()
        total = 0.0
        for contexts, targets in self._batches():
            total += self._step(contexts, targets) * len(contexts)
        return total / len(self.contexts)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.split(torch.randperm(len(self.contexts)), self.recipe.batch_size):
            yield self.contexts[rows].to(self.device), self.targets[rows].to(self.device)

    def _step(self, contexts: Tensor, targets: Tensor) -> float:
        self.optimizer.zero_grad()
        loss = F.mse_loss(self.model(contexts), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.max_gradient_norm)
        self.optimizer.step()
        self.schedule.step()
        return loss.item()

    def _measured(self, number: int, train_loss: float) -> Epoch:
        if self.validation is None:
            return Epoch(number, train_loss, None, None)
        contexts, targets = self.validation
        predictions = Predictor(self.model, self.device)(contexts)
        loss = float(np.square(predictions - targets).mean())
        return Epoch(number, train_loss, loss, float(row_cosines(predictions, targets).mean()))


def _is_best(epochs: Sequence[Epoch]) -> bool:
    """Whether the last epoch is the best so far by validation cosine; without one, later is better."""
    *earlier, last = [epoch.val_cosine for epoch in epochs]
    return last is None or all(cosine is None or last > cosine for cosine in earlier)


def _rate(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate's factor: a straight rise, then half a cosine down to 0."""
    rise = min(1.0, (step + 1) / max(1.0, warmup * steps))
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
