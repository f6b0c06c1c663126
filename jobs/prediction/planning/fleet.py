"""Which local workers there are: how many, how many units each computes at once, and which GPU each has.

The rule: together they take all cores, also where there are fewer units than cores. This module does not know how
workers are started.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lvm_batch.jobs.processes.resources import usable_cores

if TYPE_CHECKING:
    from lvm_batch.lvm.devices.facts import DeviceFacts

_MOST_SLOTS = 16
"""Units that one worker computes at once for its GPU: with more, threads wait for Python's lock rather than decode."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Local workers: how many, how many units each computes at once, and which GPU each has to itself."""

    n_workers: int
    slots: int = 1
    gpus: tuple[str, ...] = ()

    @property
    def threads(self) -> int:
        """Threads for the arithmetic of one unit: a worker's share of the cores, unless its units share them."""
        return max(1, usable_cores() // self.n_workers) if self.slots == 1 else 1

    def for_units(self, n_units: int) -> Fleet:
        """Return as many workers as have something to do."""
        return replace(self, n_workers=min(self.n_workers, n_units))


def local_fleet(wanted: int | None, device: DeviceFacts | None) -> Fleet:
    """Return what workers to start: one to a core; with GPUs one to each GPU, whose threads read for it.

    Reading and decoding leave Python's lock alone, so that they run beside what computes.
    """
    if device is None or device.kind in {"", "cpu"}:
        return Fleet(wanted or usable_cores())
    n_devices = len(device.gpus) or 1
    n_workers = min(wanted or n_devices, n_devices)
    return Fleet(n_workers, max(1, min(_MOST_SLOTS, usable_cores() // n_workers)), device.gpus[:n_workers])
