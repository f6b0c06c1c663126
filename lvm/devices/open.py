"""Open the accelerator behind a device.

The rule: each kind of accelerator is a module of its own, named here once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.lvm.devices.cuda import CudaAccelerator
from lvm_batch.lvm.devices.mps import MpsAccelerator

if TYPE_CHECKING:
    import torch

    from lvm_batch.lvm.devices.accelerator import Accelerator


def open_accelerator(device: torch.device) -> Accelerator | None:
    """Return the accelerator behind a device, ``None`` for a CPU."""
    if device.type == "cuda":
        return CudaAccelerator(device)
    return MpsAccelerator(device) if device.type == "mps" else None
