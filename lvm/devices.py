"""Where models run, and on how many threads.

The one rule: a device that was asked for by name is given or refused, never replaced. Does not know what is
run there.
"""

from __future__ import annotations

import torch

from lvm_batch.lvm.errors import DeviceError

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str) -> torch.device:
    """Return the named device; ``auto`` is the first there is of cuda, mps and cpu. Raises DeviceError."""
    available = [*_accelerators(), "cpu"]
    if name == "auto":
        return torch.device(available[0])
    if name not in DEVICES:
        raise DeviceError(f"there is no device {name!r}", f"known: {', '.join(DEVICES)}")
    if name not in available:
        raise DeviceError(f"this machine has no {name} device", f"available: {', '.join(available)}")
    return torch.device(name)


def set_threads(n_threads: int) -> None:
    """Let torch use that many CPU threads within an operation, in this process."""
    torch.set_num_threads(n_threads)


def _accelerators() -> list[str]:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name, is_there in present.items() if is_there]
