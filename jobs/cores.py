"""How many cores this process may use.

The rule: what a container or ``taskset`` allows counts, not what the machine has.
"""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
