"""What the five architectures have in common.

The one rule: a model reads contexts (batch, length, dim) and returns predictions (batch, dim) of unit norm.
Does not know any architecture, how weights are stored, or how they are learnt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from lvm_batch.lvm.errors import ArchitectureError

if TYPE_CHECKING:
    from torch import Tensor


class ContextModel(nn.Module):
    """A predictor of the next vector of a sequence from the vectors before it.

    ``config`` holds the constructor's arguments. ``adds_to_mean`` says that the output layer gives a
    correction of a mean of the context, so that an output layer of zeros predicts that mean.
    """

    adds_to_mean = False

    def __init__(self, **config: float) -> None:
        super().__init__()
        self.config = config

    def forward(self, context: Tensor) -> Tensor:
        """Predict from context (batch, length, dim), oldest vector first. Returns (batch, dim), unit norm."""
        return F.normalize(self.direction(context), dim=-1)

    def direction(self, context: Tensor) -> Tensor:
        """Return the prediction before it is normalised, (batch, dim)."""
        raise NotImplementedError

    @property
    def output_layer(self) -> nn.Linear:
        """The last layer, which gives vectors of the input's dimension."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """Width of the vectors read and predicted."""
        return self.output_layer.out_features

    @property
    def n_parameters(self) -> int:
        """Number of trainable values."""
        return sum(parameter.numel() for parameter in self.parameters())


def linear(layer: nn.Module) -> nn.Linear:
    """Narrow a member of an ``nn.Sequential`` to the linear layer it is, for the type checker."""
    if not isinstance(layer, nn.Linear):
        raise TypeError(layer)
    return layer


def check_length(context: Tensor, architecture: str, *, longest: int) -> None:
    """Raise ArchitectureError if contexts (batch, length, dim) are longer than an architecture has positions for."""
    length = context.shape[1]
    if length > longest:
        message = f"a context of {length} vectors; this {architecture} reads at most {longest}"
        raise ArchitectureError(message, "cut each context to its last vectors")


def causal_mask(length: int, device: torch.device) -> Tensor:
    """Return bool (length, length), true where a step may not look: at those after it."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
