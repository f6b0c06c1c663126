"""The history of a training as plain values: model, data, epochs, measurements and environment.

The rule: a model is measured on windows of articles that it was not trained on, beside predictions that need no model.
The figures on its training windows are separate.
"""

from __future__ import annotations

import math
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.lvm.architectures.catalog import architecture_of
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from numpy.typing import NDArray

    from lvm_batch.jobs.training.article_split import Split
    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.training.ridge import RidgePredictor
    from lvm_batch.lvm.training.training import Epoch, History
    from lvm_batch.lvm.training.windows import Windows

    Floats = NDArray[np.float32]
    Predict = Callable[[Floats], Floats]

_SEEN_WINDOWS = 5000  # of the training windows, to see how much of the fit is memory


@dataclass(frozen=True, slots=True)
class TrainingEnvironment:
    """How long a training took, when it ended (UTC, ISO 8601), on which machine, and with which package versions.

    The model does not depend on any of these.
    """

    seconds: float
    trained_at: str
    trained_on: str
    versions: Mapping[str, str]

    @classmethod
    def now(cls, device: torch.device, *, started: float) -> TrainingEnvironment:
        """Return that of a training on ``device``, now over, that began at the monotonic time ``started``."""
        return cls(
            seconds=round(monotonic() - started, 1),
            trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
            trained_on=f"{platform.machine()} {platform.system()}, {device}",
            versions={name: version(name) for name in ("lvm-batch", "torch", "numpy")},
        )


def describe_training(
    model: ContextModel,
    split: Split,
    history: History,
    *,
    ridge: RidgePredictor,
    environment: TrainingEnvironment,
) -> dict[str, Any]:
    """Return model, data, epochs and measurements as plain values; unknown ones are None."""
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
        "measured": _measure(model, split, ridge),
        **asdict(environment),
    }


def _len(windows: Windows | None) -> int:
    return len(windows) if windows else 0


def _epoch(epoch: Epoch, dim: int) -> dict[str, Any]:
    """Return an epoch's values, named as in production's histories; the cosine follows from the distance."""
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


def _measure(model: ContextModel, split: Split, ridge: RidgePredictor) -> dict[str, Any]:
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


def _cosines(predict: Predict, windows: Windows) -> Mapping[str, float | None]:
    """Return mean and standard deviation of the cosine with the target, over the rows that have one."""
    cosines = np.concatenate(
        [row_cosines(predict(contexts.numpy()), targets.numpy()) for contexts, targets in windows.batches()]
    )
    cosines = cosines[np.isfinite(cosines)].astype(np.float64)
    return {
        "cosine": float(cosines.mean()) if len(cosines) else None,
        "std": float(cosines.std()) if len(cosines) else None,
    }
