"""The local workers of a run: how many, how many units each computes at once, and the GPU of each.

The rule: together they use all cores, also if there are fewer units than cores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lvm_batch.jobs.processes.resources import usable_cores

if TYPE_CHECKING:
    from lvm_batch.lvm.devices.facts import DeviceFacts

_MOST_SLOTS = 16
"""Units that one worker computes at once for its GPU; with more, threads wait for Python's lock instead of decoding."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Local workers: how many, how many units each computes at once, and the GPU that each has to itself."""

    n_workers: int
    slots: int = 1
    gpus: tuple[str, ...] = ()

    @property
    def threads(self) -> int:
        """Threads that compute one unit: the worker's share of the cores, or 1 if it computes several units at once."""
        return max(1, usable_cores() // self.n_workers) if self.slots == 1 else 1

    def for_units(self, n_units: int) -> Fleet:
        """Return the workers that ``n_units`` keep busy."""
        return replace(self, n_workers=min(self.n_workers, n_units))


def local_fleet(wanted: int | None, device: DeviceFacts | None) -> Fleet:
    """Return the workers to start: one for each core, or one for each GPU, whose threads read for it.

    Reading and decoding release Python's lock, so that they run beside the computation.
    """
    if device is None or device.kind in {"", "cpu"}:
        return Fleet(wanted or usable_cores())
    n_devices = len(device.gpus) or 1
    n_workers = min(wanted or n_devices, n_devices)
    return Fleet(n_workers, max(1, min(_MOST_SLOTS, usable_cores() // n_workers)), device.gpus[:n_workers])
