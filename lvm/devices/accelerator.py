"""Devices that compute beside the CPU: what a predictor asks of one.

The rule: whatever a device does is begun by ``start`` and over when ``wait`` returns; until then the CPU is free. Does
not know models, nor how many rows fit.

CUDA is in ``cuda``, Apple's MPS in ``mps``; ``open`` chooses. Tests have one of their own.
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


class Flight(Protocol):
    """Rows on their way through a device."""

    def wait(self, out: Floats) -> None:
        """Wait for the answers and put them into ``out``, float32 (n, dim); raises what the device raises late."""


class Accelerator(Protocol):
    """A device with memory of its own. Several threads may use it at once."""

    @property
    def name(self) -> str:
        """What errors and notes call it."""

    @property
    def device(self) -> torch.device:
        """Where weights are put."""

    def free_bytes(self) -> int:
        """Return how much memory more can be had."""

    def start(self, rows: Floats, forward: Callable[[Tensor], Tensor], precision: Precision) -> Flight:
        """Send rows, float32 (n, length, dim), through ``forward`` and back, and return without waiting for it."""

    def release(self) -> None:
        """Give back memory that is held for later."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Tell whether fewer rows at once may help."""

    def explained(self, error: BaseException) -> DeviceError | None:
        """Return what to tell a user of an error, ``None`` where it is not the device's."""
