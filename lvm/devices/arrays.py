"""numpy arrays seen as torch tensors.

The rule: nothing is copied on the CPU, not even read-only memory (a memory map, an Arrow buffer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    import numpy.typing as npt


class _Alias:
    """Presents an array's memory as writable: torch warns of read-only memory, and has no read-only tensors."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}
        self.owner = array


def as_tensor(array: npt.NDArray[np.float32]) -> torch.Tensor:
    """Return a CPU tensor over the array's own memory. Never write to it: the memory may be read-only."""
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Alias(array)))
