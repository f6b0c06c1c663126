"""When, where and with what a model was trained.

The rule: the clock and the machine are read once, by whoever trains, and passed on as values. Nothing of a model
follows from them.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How long a training took, when it ended (UTC, ISO 8601), on what machine, and with which versions of what."""

    seconds: float
    trained_at: str
    trained_on: str
    versions: Mapping[str, str]

    @classmethod
    def now(cls, device: torch.device, *, started: float) -> Circumstances:
        """Those of a training on ``device`` that began at the monotonic time ``started`` and is over."""
        return cls(
            seconds=round(monotonic() - started, 1),
            trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
            trained_on=f"{platform.machine()} {platform.system()}, {device}",
            versions={name: version(name) for name in ("lvm-batch", "torch", "numpy")},
        )
