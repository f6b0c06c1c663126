"""The arithmetic that models can run in, and which kinds of device have which.

The rule: a precision that a device lacks is refused before any work, and never replaced by another.

- ``fp32``: float32 everywhere, with TF32 off, which cuDNN's recurrent layers use by default.
- ``tf32``: float32 whose products are rounded to 10 bits of mantissa, on CUDA devices from Ampere on.
- ``bf16``, ``fp16``: weights and activations in 16 bits; predictions are normalised and returned in float32. On a CPU
  only the linear layers of a model that has a fast form are bfloat16 (``kernels.bf16_linear``).
- ``int8``: linear layers in 8-bit integers (``kernels.int8_linear``), on a CPU.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch

from lvm_batch.lvm.devices import onednn
from lvm_batch.lvm.errors import DeviceError

Precision = Literal["fp32", "tf32", "bf16", "fp16", "int8"]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The type of weights and activations; float32 for a precision that is not listed."""

# float16 would run on a CPU too, but at a tenth of float32's speed (torch 2.13, Zen 4, 2026-11-23). On MPS nothing but
# float32 has been tried.
_DEVICES = {"tf32": ("cuda",), "bf16": ("cpu", "cuda"), "fp16": ("cuda",), "int8": ("cpu",)}


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise :class:`DeviceError` where ``device`` does not compute in ``precision``.

    Whether this processor has the instructions for int8 is a question for ``kernels.int8_linear.check_int8``.
    """
    runs_on = _DEVICES.get(precision)
    if runs_on is None:
        return
    if device.type not in runs_on:
        hint = f"use --precision fp32, or --device {' or '.join(runs_on)}"
        raise DeviceError(f"{precision} does not run on {device.type}", hint)
    if device.type == "cuda" and precision != "fp16":
        _check_generation(precision, device)


@cache
def multiplies_bf16() -> bool:
    """Return whether this CPU multiplies bfloat16, by its flags and oneDNN's answer; if not, bf16 gains nothing.

    Those with AMX have avx512_bf16 too. Others could only convert to float32 and back, which is slower.
    """
    flags: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older builds lack it
    return bool(flags.get("avx512_bf16")) and onednn.packs(torch.bfloat16)


def _check_generation(precision: Precision, device: torch.device) -> None:
    """Raise DeviceError for GPUs before Ampere, the first generation with TF32 and bfloat16."""
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise DeviceError(f"{name} has no {precision}", "use --precision fp32 or fp16")
