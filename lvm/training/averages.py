"""Running averages of a model's weights.

The rule: the averaged weights are judged and kept, and training goes on from the others. The average is over many
orders of the windows, so that it has less of the noise of the last ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.architectures.context_model import ContextModel

    Weights = tuple[Tensor, ...] | list[Tensor]


def average_of(model: ContextModel, keep: float) -> AveragedModel:
    """Return a copy of ``model`` that becomes the average of its weights; ``update_parameters`` adds a step's weights.

    A step keeps the share ``keep`` of the average, and less among the first steps, so that they do not weigh on it for
    long.
    """

    @torch.no_grad()
    def update(averages: Weights, weights: Weights, n_steps: Tensor | int) -> None:
        kept = min(keep, (1 + int(n_steps)) / (10 + int(n_steps)))
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, 1 - kept)

    averaged = AveragedModel(model, multi_avg_fn=update)
    averaged.n_averaged += (
        1  # the model's first weights are the average of none, in place of the first step's
    )
    return averaged
