"""Apple's GPUs through torch's MPS: one slice of rows after the other, in float32.

The rule: an operation that MPS lacks is an error that names it, and is never computed elsewhere instead. The GPU shares
the machine's memory, so nothing is staged. Not tried on a Mac: the tests have none.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from lvm_batch.lvm.devices.accelerator import Floats
    from lvm_batch.lvm.devices.precision import Precision


class _MpsResult:
    """Predictions that are already computed."""

    def __init__(self, predictions: Tensor) -> None:
        self._predictions = predictions

    def wait(self, out: Floats) -> None:
        torch.from_numpy(out).copy_(self._predictions)


class MpsAccelerator:
    """The one GPU of a Mac."""

    name = "mps"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._lock = Lock()  # MPS has one queue

    def free_bytes(self) -> int:
        """Return the bytes that Metal recommends as a limit, less those in use."""
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()

    @torch.inference_mode()
    def start(self, rows: Floats, forward: Callable[[Tensor], Tensor], precision: Precision) -> _MpsResult:  # noqa: ARG002 - float32 is all there is
        """Compute the predictions, and return when they are done."""
        with self._lock:
            return _MpsResult(forward(as_tensor(rows).to(self.device)).cpu())

    def release(self) -> None:
        """Empty torch's cache."""
        torch.mps.empty_cache()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether memory ran out, by the message: MPS raises no class of its own."""
        return isinstance(error, torch.OutOfMemoryError) or "MPS backend out of memory" in str(error)

    def explain(self, error: BaseException) -> DeviceError | None:
        """Return the error for an operation that MPS lacks."""
        if not isinstance(error, NotImplementedError):
            return None
        first = str(error).split(". ", 1)[0]
        return DeviceError(
            f"mps lacks an operation of the model: {first}",
            "use --device cpu; or set PYTORCH_ENABLE_MPS_FALLBACK=1, and torch does such operations on the CPU",
        )
