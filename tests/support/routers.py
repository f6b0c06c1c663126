"""A fitted router by hand, whose expectations a test can compute."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.lvm.inference.gain_router import GainRouter
from lvm_batch.lvm.inference.router_file import RouterFile, RouterRecovery

if TYPE_CHECKING:
    from pathlib import Path


def write_router(path: Path, models: Path, *, level: float = 0.5, length: int = 5, **digests: str) -> Path:
    """Write a router that expects of a row what the cosine of its last two vectors has over ``level``.

    It is one of the models in the folder ``models``, or of those with ``digests``.
    """
    n_signals = 2 * length - 1
    of_signals = np.zeros(n_signals, np.float32)
    of_signals[-1] = 1
    nothing = np.zeros(768, np.float32)
    router = GainRouter(
        -level, nothing, nothing, of_signals, np.zeros((n_signals, n_signals), np.float32), 1e-6
    )
    found = {
        role: hashlib.sha256((models / name).read_bytes()).hexdigest()
        for role, name in (("primary", "amn.pt"), ("fallback", "gru.pt"))
        if role not in digests
    }
    recovery = RouterRecovery(1000, 40, 0.2, 0.3, (0.2, 0.4), 0.1)
    path.write_bytes(RouterFile(router, budget=0.2, recovery=recovery, **(found | digests)).to_bytes())
    return path
