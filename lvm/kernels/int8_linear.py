"""Linear layers in 8-bit integers: three times as fast as float32, for slightly different predictions.

The rule: each row is rounded by itself, whatever its neighbours. Weights are rounded once, to 127 steps of each
output's largest value; rows at each call, to 127 steps of their own largest value (dynamic, symmetric quantisation by
channel and by row, like torchao's ``Int8DynamicActivationInt8Weight``). Products are exact in 32 bits, and a processor
that cannot add them exactly is refused; everything after them is float32, whose last bits differ between kernels. A
build of torch without the operators multiplies the same rounded numbers in float32.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.devices import onednn
from lvm_batch.lvm.devices.onednn import STEPS, ZERO
from lvm_batch.lvm.errors import DeviceError
from lvm_batch.lvm.kernels.packed_linear import LinearForm

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.devices.onednn import Activation

_LEAST = 1e-30  # the divisor of a row of zeros
_PROBE = 64  # products that fill the widest registers


class Int8Linear(LinearForm):
    """``activation(x @ weight.T + bias)`` of float32 rows, which are rounded to 8 bits."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, activation: Activation = "none"
    ) -> None:
        weight = weight.detach()
        self._bias = torch.zeros(len(weight)) if bias is None else bias.detach()
        self._activation = activation
        self._scales = weight.abs().amax(dim=1).clamp_min(_LEAST) / STEPS  # (out,)
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        rounded = (weight / self._scales.unsqueeze(1)).round().to(torch.int8)
        self._packs = onednn.packs_int8()
        self._weight = onednn.pack_int8(rounded) if self._packs else rounded.float()

    def __call__(self, x: Tensor) -> Tensor:
        """Map (rows, in) to (rows, out)."""
        largest = x.abs().amax(dim=1, keepdim=True).clamp_min_(_LEAST)  # (rows, 1)
        rounded = x.mul(STEPS / largest).round_()
        product = self._product(rounded)
        torch.addcmul(self._bias, product, largest, out=product)
        return F.gelu(product) if self._activation == "gelu" else product

    def _product(self, rounded: Tensor) -> Tensor:
        """Return the product of rows whose largest value, ``STEPS``, stands for one; (rows, out), float32."""
        if not self._packs:
            return F.linear(rounded, self._weight).mul_(self._scales / STEPS)
        unsigned = rounded.to(torch.int8).view(torch.uint8).bitwise_xor_(ZERO)  # adds 128; the fastest way
        return onednn.multiply_int8(unsigned, self._weight, self._scales, self._zeros)


def check_int8() -> None:
    """Raise :class:`DeviceError` where this processor cannot multiply 8-bit integers."""
    if not _products_are_exact():
        raise DeviceError(
            "int8 does not run on this processor: without VNNI its sums of 8-bit products are cut to 16 bits",
            "use --precision fp32, or a processor with VNNI (Intel since 2019, AMD since Zen 4)",
        )


@cache
def _products_are_exact() -> bool:
    """Return whether products of the largest 8-bit numbers are added exactly: old instructions add pairs in 16 bits."""
    ones = torch.ones(1, _PROBE)
    return abs(float(Int8Linear(ones)(ones)) - _PROBE) < 1
