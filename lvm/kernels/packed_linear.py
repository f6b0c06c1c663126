"""Linear layers on oneDNN, with weights laid out once for the widest registers of the processor.

The rule: the results equal the layer's, to the last bits of float32; gradients are not computed. torch gives float32
products to MKL, which on AMD's processors leaves half of each register unused: 90 GFLOP/s a core, where oneDNN reaches
110 (2026-11-23, Zen 4, torch 2.13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.devices import onednn

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor, nn

    from lvm_batch.lvm.devices.onednn import Activation


class LinearForm(Protocol):
    """A way to compute ``activation(x @ weight.T + bias)``."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, activation: Activation = "none"
    ) -> None: ...

    @classmethod
    def of(cls, layer: nn.Linear, *, activation: Activation = "none") -> Self:
        """Make the form of a layer and of the activation after it."""
        return cls(layer.weight, layer.bias, activation=activation)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (rows, in) to (rows, out)."""


class PackedLinear(LinearForm):
    """``activation(x @ weight.T + bias)`` of float32 rows on a CPU."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, activation: Activation = "none"
    ) -> None:
        weight = weight.detach().contiguous()
        self._bias = None if bias is None else bias.detach()
        self._activation = activation
        self._packs = onednn.packs(torch.float32)
        self._weight = onednn.pack_weight(weight) if self._packs else weight

    def __call__(self, x: Tensor) -> Tensor:
        """Map (rows, in) to (rows, out)."""
        if self._packs:
            return onednn.multiply(x, self._weight, self._bias, self._activation)
        product = F.linear(x, self._weight, self._bias)
        return F.gelu(product) if self._activation == "gelu" else product
