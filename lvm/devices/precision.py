"""The arithmetic that models can run in, and which device has which.

The rule: what is asked for is done or refused, before any work; nothing is replaced by something else. Does not know
what is computed.

- ``fp32``: float32 everywhere, with TF32 off, which cuDNN's recurrent layers would otherwise use unasked.
- ``tf32``: float32 whose products are rounded to 10 bits of mantissa, on CUDA devices from Ampere on.
- ``bf16``, ``fp16``: weights and activations in 16 bits; predictions are normalised, and leave, in float32.
- ``int8``: linear layers in 8-bit integers (``int8``), on a CPU.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.errors import DeviceError
from lvm_batch.lvm.kernels.int8_linear import check_int8

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.architectures.context_model import ContextModel

Precision = Literal["fp32", "tf32", "bf16", "fp16", "int8"]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What weights and activations are held in; float32 for what is not here."""

# float16 would run on a CPU too, but at a tenth of float32's speed (torch 2.13, Zen 4, 2026-11-23). On MPS nothing but
# float32 has been tried.
_DEVICES = {"tf32": ("cuda",), "bf16": ("cpu", "cuda"), "fp16": ("cuda",), "int8": ("cpu",)}


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise :class:`DeviceError` where ``device`` does not compute in ``precision``."""
    runs_on = _DEVICES.get(precision)
    if runs_on is None:
        return
    if device.type not in runs_on:
        hint = f"use --precision fp32, or --device {' or '.join(runs_on)}"
        raise DeviceError(f"{precision} does not run on {device.type}", hint)
    if precision == "int8":
        check_int8(device)
    if device.type == "cuda" and precision != "fp16":
        _check_generation(precision, device)


def _check_generation(precision: Precision, device: torch.device) -> None:
    """TF32 and bfloat16 came with the same generation of GPUs, Ampere."""
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise DeviceError(f"{name} has no {precision}", "use --precision fp32 or fp16")


class HalfForm:
    """A model with weights and activations of 16 bits; what it returns is float32, of unit norm in float32."""

    def __init__(self, model: ContextModel, device: torch.device, dtype: torch.dtype) -> None:
        self._model = copy.deepcopy(model).to(device, dtype)
        self._dtype = dtype

    def __call__(self, context: Tensor) -> Tensor:
        """Map (batch, length, dim) of any float type to float32 (batch, dim)."""
        return F.normalize(self._model.direction(context.to(self._dtype)).float(), dim=-1)
