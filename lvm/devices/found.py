"""What is known of the device that a name leads to.

The rule: it can be known where torch is not loaded. Does not know how a device is looked for (``devices``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device of this machine: ``kind`` is cpu, cuda or mps, ``why`` how ``auto`` came to it.

    ``gpus`` are the CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names each of them.
    """

    kind: str
    name: str
    why: str = ""
    gpus: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Which device it is, and why, in a line."""
        return f"{self.name} (auto: {self.why})" if self.why else self.name
