"""Waits for conditions, however busy the machine is.

The rule: a test waits for a condition, not for a time. ``HANG_S`` ends a test that would hang; nothing that works
comes near it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HANG_S = 300.0


def wait_until(holds: Callable[[], object], what: str, *, every_s: float = 0.01) -> None:
    """Return as soon as a condition holds; the error names ``what`` if it never does."""
    end = time.monotonic() + HANG_S
    while not holds():
        assert time.monotonic() < end, f"not within {HANG_S:g} s: {what}"
        time.sleep(every_s)
