"""Training of a model on windows: contexts and the vectors that follow them.

The rule: on a CPU the result depends on the data, the recipe and the seed alone, even if training was interrupted
between two epochs and resumed.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.training.averages import average_of
from lvm_batch.lvm.training.dropout import dropping
from lvm_batch.lvm.training.forms import rounded_products, training_form
from lvm_batch.lvm.training.ridge import fit_ridge
from lvm_batch.lvm.training.ridge_start import SAMPLE, start_at_ridge
from lvm_batch.lvm.training.schedules import make_schedule
from lvm_batch.lvm.training.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.training.recipes import Recipe
    from lvm_batch.lvm.training.ridge import RidgePredictor
    from lvm_batch.lvm.training.windows import Windows

Stop = Literal["finished", "patience", "diverged"]


@dataclass(frozen=True, slots=True)
class Epoch:
    """The results of one epoch. Number 0 is the model before its first step; its ``train_loss`` is NaN.

    Losses are mean squared errors per component. ``val_loss`` and ``val_cosine`` are means over the validation windows
    that have a cosine: None without validation windows, NaN if none of them has one. ``learning_rate`` is that of the
    epoch's last step.
    """

    number: int
    train_loss: float
    val_loss: float | None
    val_cosine: float | None
    learning_rate: float


@dataclass(frozen=True, slots=True)
class History:
    """All epochs in order, the one whose weights were kept, and the reason why training stopped.

    The kept epoch is the best by ``val_cosine``, the last without validation.
    """

    epochs: tuple[Epoch, ...]
    best: Epoch
    stopped: Stop


class Training:
    """One training, as an iterator over its epochs.

    After any epoch its state can be saved, and restored in another training with the same data, recipe and seed. The
    random numbers of an epoch depend on the seed and the epoch's number; global random state does not change.
    """

    def __init__(
        self,
        model: ContextModel,
        windows: Windows,
        *,
        recipe: Recipe,
        seed: int,
        validation: Windows | None = None,
        on_step: Callable[[int, float], None] | None = None,
        teacher: ContextModel | None = None,
    ) -> None:
        """Prepare to train ``model`` in place, on the device it is on.

        ``teacher``, on the same device, teaches it in the place of ridge regression.
        ``on_step`` is called after each step with the number of its windows and their loss. Raises ModelError if there
        are no windows.
        """
        if not len(windows):
            raise ModelError(
                "there are no windows to train on", "give articles of more vectors than a context has"
            )
        self.model = model
        self.device = next(model.parameters()).device
        self.windows = windows.in_both_directions() if recipe.both_directions else windows
        self.validation = validation
        self.recipe, self.seed = recipe, seed
        self.on_step = on_step
        self.epochs: list[Epoch] = []
        self._ridge = self._fit_ridge()
        self._teacher = teacher.eval() if teacher else self._ridge
        self._predict = training_form(model, self.device)
        self._average = average_of(model, recipe.averaging) if recipe.averaging else None
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=self.device.type == "cpu" or None,
        )
        n_steps = recipe.epochs * math.ceil(len(self.windows) / recipe.batch_size)
        self.schedule = make_schedule(self.optimizer, recipe, n_steps=n_steps)
        self._best: Epoch | None = None
        self._best_weights: dict[str, Tensor] = {}

    def __iter__(self) -> Iterator[Epoch]:
        """Train, and yield each epoch when it ends; first epoch 0, before any step."""
        if not self.epochs:
            if self._ridge and self.recipe.beginning == "ridge":
                start_at_ridge(self.model, self.windows.sample(SAMPLE), self._ridge)
                self.judged.load_state_dict(self.model.state_dict())
            yield self._end_epoch(math.nan)
        while self.stopped is None:
            yield self._end_epoch(self._train_epoch(len(self.epochs)))

    @property
    def judged(self) -> ContextModel:
        """The model that is validated and kept: of averaged weights, if the recipe averages them."""
        return cast("ContextModel", self._average.module) if self._average else self.model

    @property
    def stopped(self) -> Stop | None:
        """The reason why training stopped; None while it goes on."""
        last, best = self.epochs[-1], self._best
        number = last.number
        if number and not math.isfinite(last.train_loss + (last.val_loss or 0.0)):
            return "diverged"
        if number >= self.recipe.epochs:
            return "finished"
        waited = number - best.number if best else 0
        return "patience" if self.recipe.patience and waited >= self.recipe.patience else None

    def finish(self) -> History:
        """Restore the weights of the best epoch, and return the history."""
        assert self._best is not None  # noqa: S101 - an iteration begins with epoch 0
        self.model.load_state_dict(self._best_weights)
        self.model.eval()
        return History(tuple(self.epochs), self._best, self.stopped or "finished")

    def state(self) -> dict[str, Any]:
        """Return the state, for a training that is resumed, as plain values and tensors."""
        return {
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "best": self._best.number if self._best else None,
            "best_weights": self._best_weights,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self._average and self._average.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that :meth:`state` returned."""
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self._best = self.epochs[state["best"]]
        self._best_weights = state["best_weights"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self._average:
            self._average.load_state_dict(state["average"])

    def _fit_ridge(self) -> RidgePredictor | None:
        if self.recipe.beginning != "ridge" and not self.recipe.teaching:
            return None
        return fit_ridge(self.windows).to(self.device)

    def _end_epoch(self, train_loss: float) -> Epoch:
        """Validate the model after an epoch, and keep its weights if they are the best so far."""
        rate = self.optimizer.param_groups[0]["lr"]
        val_loss, val_cosine = validate(self.judged, self.validation) if self.validation else (None, None)
        epoch = Epoch(len(self.epochs), train_loss, val_loss, val_cosine, rate)
        self.epochs.append(epoch)
        if epoch.number:
            self.schedule.end_epoch(train_loss if val_loss is None else val_loss)
        if _is_better(epoch, self._best):
            self._best, self._best_weights = epoch, copy.deepcopy(self.judged.state_dict())
        return epoch

    def _train_epoch(self, number: int) -> float:
        """Train once on all windows in random order. Returns the mean loss, NaN if a step's loss is not finite."""
        self.model.train()
        total = 0.0
        forked = torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])
        with forked, dropping(self.model, self.recipe.dropout):
            torch.manual_seed(int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))
            for rows in torch.split(torch.randperm(len(self.windows)), self.recipe.batch_size):
                loss = self._step(rows)
                if not math.isfinite(loss):
                    return math.nan
                total += loss * len(rows)
        return total / len(self.windows)

    def _step(self, rows: Tensor) -> float:
        contexts, targets = (part.to(self.device) for part in self.windows.batch(rows.numpy()))
        self.optimizer.zero_grad()
        with rounded_products(self.device):
            predictions = self._predict(contexts)
            loss = F.mse_loss(predictions, targets)
            objective = loss + self._teaching(predictions, contexts, loss)
        objective.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.max_gradient_norm)
        self.optimizer.step()
        if self._average:
            self._average.update_parameters(self.model)
        self.schedule.end_step()
        value = loss.item()
        if self.on_step:
            self.on_step(len(rows), value)
        return value

    def _teaching(self, predictions: Tensor, contexts: Tensor, loss: Tensor) -> Tensor:
        """Return the term that measures a share of the loss against the teacher, to be added to the loss."""
        if not (self._teacher and self.recipe.teaching):
            return torch.zeros_like(loss)
        with torch.no_grad():
            taught = F.normalize(self._teacher.direction(contexts).float(), dim=1)
        return self.recipe.teaching * (F.mse_loss(predictions, taught) - loss)


def _is_better(epoch: Epoch, best: Epoch | None) -> bool:
    """Compare by validation cosine, NaN being worse than any number; without validation the later epoch is better."""
    if best is None:
        return True
    if epoch.val_cosine is None or best.val_cosine is None:
        return math.isfinite(epoch.train_loss)
    return math.isfinite(epoch.val_cosine) and not epoch.val_cosine <= best.val_cosine
