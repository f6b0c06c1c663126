"""What the five architectures have in common.

The rule: a model reads contexts (batch, length, dim) and returns predictions (batch, dim) of unit norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from lvm_batch.lvm.errors import ArchitectureError

if TYPE_CHECKING:
    from torch import Tensor


_LEAST_NORM = 1e-12  # the default of torch's normalize


class ContextModel(nn.Module):
    """A predictor of the next vector of a sequence from the vectors before it.

    ``config`` holds the constructor's arguments. If ``adds_to_mean`` is set, the output layer gives a correction to a
    mean of the context, so that an output layer of zeros predicts that mean. If ``unit_inputs`` is set, the model was
    trained on unit vectors, and makes such of the vectors of a context.
    """

    adds_to_mean = False
    unit_inputs = False

    def __init__(self, **config: float) -> None:
        super().__init__()
        self.config = config

    def forward(self, context: Tensor) -> Tensor:
        """Predict from context (batch, length, dim), oldest vector first. Returns (batch, dim), unit norm."""
        return F.normalize(self.direction(unit_vectors(context) if self.unit_inputs else context), dim=-1)

    def direction(self, context: Tensor) -> Tensor:
        """Return the prediction before it is normalised, (batch, dim), from vectors in the norm that it knows."""
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
    """Narrow the type of a member of an ``nn.Sequential`` to a linear layer. Raises TypeError for any other."""
    if not isinstance(layer, nn.Linear):
        raise TypeError(layer)
    return layer


def unit_vectors(context: Tensor) -> Tensor:
    """Divide the vectors of contexts (batch, length, dim) by their norms; vectors of zeros stay as they are.

    A vector whose norm overflows float32 becomes NaN, as a model's answer to it would.
    """
    norms: Tensor = torch.linalg.vector_norm(context, dim=-1, keepdim=True)  # (B, L, 1)
    return context / norms.masked_fill(norms.isinf(), torch.nan).clamp_min(_LEAST_NORM)


def check_length(context: Tensor, architecture: str, *, longest: int) -> None:
    """Raise ArchitectureError if contexts (batch, length, dim) are longer than an architecture has positions for."""
    length = context.shape[1]
    if length > longest:
        message = f"a context of {length} vectors; this {architecture} reads at most {longest}"
        raise ArchitectureError(message, "cut each context to its last vectors")


def causal_mask(length: int, device: torch.device) -> Tensor:
    """Return a bool mask (length, length), true for the later steps, which a step must not attend to."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
