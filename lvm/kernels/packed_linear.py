"""Linear layers on oneDNN, with weights laid out once for the widest registers of the processor.

The rule: the results equal the layer's, to the last bits of float32; gradients are not computed. torch gives float32
products to MKL, which on AMD's processors leaves half of each register unused: 90 GFLOP/s a core, where oneDNN reaches
110 (2026-11-23, Zen 4, torch 2.13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor, nn

Activation = Literal["none", "gelu"]

USUAL_ROWS = 256  # oneDNN lays weights out for about that many rows, and accepts any number


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
        self._packs = has_onednn()
        self._weight = pack_weight(weight) if self._packs else weight

    def __call__(self, x: Tensor) -> Tensor:
        """Map (rows, in) to (rows, out)."""
        if self._packs:
            return multiply(x, self._weight, self._bias, self._activation)
        product = F.linear(x, self._weight, self._bias)
        return F.gelu(product) if self._activation == "gelu" else product


# The operators that torch's compiler substitutes for linear layers.


def pack_weight(weight: Tensor) -> Tensor:
    """Return a weight (out, in), contiguous, float32 or bfloat16, as oneDNN lays it out."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight.default(weight, USUAL_ROWS)  # noqa: SLF001
    return packed


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Tensor:
    """Return the product of rows with a packed weight of the same type, (rows, out), also of that type."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, activation, [], "none")  # noqa: SLF001
    return product


def has_onednn() -> bool:
    """Return whether this build of torch has these operators."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)  # type: ignore[no-untyped-call]
