"""The description of a device.

The rule: it needs no torch, so that the driver of a run can hold it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device of this machine: ``kind`` is cpu, cuda or mps, ``why`` the reason for which ``auto`` chose it.

    ``gpus`` are the CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them.
    """

    kind: str
    name: str
    why: str = ""
    gpus: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The device and the reason for it, in one line."""
        return f"{self.name} (auto: {self.why})" if self.why else self.name
