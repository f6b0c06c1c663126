"""The protocol of a device that computes beside the CPU; ``cuda`` and ``mps`` implement it, ``open`` chooses.

The rule: ``start`` begins everything that a device does, and it is done when ``wait`` returns; until then the CPU is
free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from lvm_batch.lvm.devices.precision import Precision
    from lvm_batch.lvm.errors import DeviceError

    Floats = npt.NDArray[np.float32]


class PendingResult(Protocol):
    """Rows on their way through a device, and the predictions for them."""

    def wait(self, out: Floats) -> None:
        """Wait for the predictions and write them into ``out``, float32 (n, dim). Raises late errors of the device."""


class Accelerator(Protocol):
    """A device with its own memory. Several threads may use it at once."""

    @property
    def name(self) -> str:
        """The name in errors and notes."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""

    def free_bytes(self) -> int:
        """Return how many bytes of memory can still be allocated."""

    def start(self, rows: Floats, forward: Callable[[Tensor], Tensor], precision: Precision) -> PendingResult:
        """Begin to send rows, float32 (n, length, dim), through ``forward`` and back, and return at once."""

    def release(self) -> None:
        """Release memory that is kept for reuse."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether the error may go away with fewer rows at once."""

    def explain(self, error: BaseException) -> DeviceError | None:
        """Return the error as a user should see it, ``None`` if the device did not cause it."""
