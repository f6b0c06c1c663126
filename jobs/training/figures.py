"""What a training came to, in figures.

The rule: a model is measured on windows of articles that it was not trained on, beside the predictions that need no
model; how well it does on what it was trained on is told apart. This module does not know how figures are shown, nor
the time.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.lvm.architectures.catalog import architecture_of
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.predictor import Predictor
from lvm_batch.lvm.training.ridge import RidgeSums

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lvm_batch.jobs.training.article_split import Split
    from lvm_batch.jobs.training.environment import Circumstances
    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.training.ridge import RidgePredictor
    from lvm_batch.lvm.training.training import Epoch, History
    from lvm_batch.lvm.training.windows import Windows

    Floats = NDArray[np.float32]
    Predict = Callable[[Floats], Floats]

_SEEN_WINDOWS = 5000  # of those trained on, to see how much of the fit is memory


def describe(
    model: ContextModel,
    split: Split,
    history: History,
    *,
    ridge: RidgePredictor,
    circumstances: Circumstances,
) -> dict[str, Any]:
    """Return model, data, epochs and figures as plain values; what is not known is None."""
    best = _epoch(history.best, split.training.dim)
    architecture = architecture_of(model.state_dict())
    train, val = split.n_articles
    return {
        "model_type": architecture.name if architecture else "",
        "final_params": model.n_parameters,
        "model_config": dict(model.config),
        "context_length": split.training.length,
        "dim": split.training.dim,
        "windows": {
            "training": len(split.training),
            "validation": len(split.validation),
            "ood": _len(split.ood),
        },
        "articles": {"training": train, "validation": val},
        "history": [_epoch(epoch, split.training.dim) for epoch in history.epochs],
        "best_epoch": history.best.number,
        "best_val_loss": best["val_loss"],
        "best_val_cosine": best["val_cosine"],
        "stopped": history.stopped,
        "measured": _measured(model, split, ridge),
        **asdict(circumstances),
    }


def _len(windows: Windows | None) -> int:
    return len(windows) if windows else 0


def _epoch(epoch: Epoch, dim: int) -> dict[str, Any]:
    """Name an epoch's values as production's histories do; the cosine of unit vectors follows from their distance."""
    values = {
        "epoch": epoch.number,
        "train_loss": epoch.train_loss,
        "train_cosine": 1 - epoch.train_loss * dim / 2,
        "val_loss": epoch.val_loss,
        "val_cosine": epoch.val_cosine,
        "lr": epoch.learning_rate,
    }
    return {
        name: None if value is None or not math.isfinite(value) else value for name, value in values.items()
    }


def _measured(model: ContextModel, split: Split, ridge: RidgePredictor) -> dict[str, Any]:
    predictor = Predictor(model, next(model.parameters()).device)
    unseen: dict[str, Predict] = {
        "model": predictor,
        "mean": lambda contexts: contexts.mean(axis=1),
        "last": lambda contexts: contexts[:, -1],
        "ridge": ridge,
    }
    seen = split.training.some(_SEEN_WINDOWS)
    figures = {
        "validation": {name: _cosines(predict, split.validation) for name, predict in unseen.items()},
        "training": {name: _cosines(unseen[name], seen) for name in ("model", "mean")},
    }
    if split.ood:
        figures["ood"] = {name: _cosines(predict, split.ood) for name, predict in unseen.items()}
    return figures


def fit_ridge(windows: Windows) -> RidgePredictor:
    """Fit the strongest prediction that needs no model; raises ModelError where that cannot be."""
    sums = RidgeSums(windows.length, windows.dim)
    for contexts, targets in windows.batches():
        sums.add(contexts, targets)
    return sums.solve()


def _cosines(predict: Predict, windows: Windows) -> Mapping[str, float | None]:
    """Mean and standard deviation of the cosine with the target, over rows that have one."""
    found = np.concatenate(
        [row_cosines(predict(contexts.numpy()), targets.numpy()) for contexts, targets in windows.batches()]
    )
    found = found[np.isfinite(found)].astype(np.float64)
    return {
        "cosine": float(found.mean()) if len(found) else None,
        "std": float(found.std()) if len(found) else None,
    }
