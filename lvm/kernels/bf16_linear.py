"""Linear layers in bfloat16: twice as fast as float32 where a processor multiplies bfloat16, and close to it.

The rule: weights are rounded once and rows at each call, to the nearest bfloat16; products are exact, and they and the
bias are added in float32. A processor that multiplies bfloat16 rounds the sums once more; every other processor
multiplies the same rounded numbers in float32, so that workers of both kinds may share a job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.lvm.devices import onednn
from lvm_batch.lvm.devices.precision import multiplies_bf16
from lvm_batch.lvm.kernels.packed_linear import LinearForm, PackedLinear

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.devices.onednn import Activation


class Bf16Linear(LinearForm):
    """``activation(x @ weight.T + bias)`` of float32 rows, which are rounded to bfloat16; returns float32."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, activation: Activation = "none"
    ) -> None:
        rounded = weight.detach().bfloat16().contiguous()
        self._bias = None if bias is None else bias.detach()
        self._activation = activation
        self._in_float32: PackedLinear | None = None
        if multiplies_bf16():
            self._weight = onednn.pack_weight(rounded)
        else:
            self._in_float32 = PackedLinear(rounded.float(), bias, activation=activation)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (rows, in) to (rows, out)."""
        rounded = x.bfloat16()
        if self._in_float32 is not None:
            return self._in_float32(rounded.float())
        return onednn.multiply(rounded, self._weight, self._bias, self._activation).float()
