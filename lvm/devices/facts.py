"""The description of a device.

The rule: it needs no torch, so that the driver of a run can hold it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device of this machine: ``kind`` is cpu, cuda or mps, ``why`` the reason for which ``auto`` chose it.

    ``gpus`` are the CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them. ``gains_by_bf16`` says
    whether it multiplies bfloat16 faster than float32, ``plain_precisions`` which precisions this build of torch has no
    fast products for.
    """

    kind: str
    name: str
    why: str = ""
    gpus: tuple[str, ...] = ()
    gains_by_bf16: bool = True
    plain_precisions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The device and the reason for it, in one line."""
        return f"{self.name} (auto: {self.why})" if self.why else self.name
