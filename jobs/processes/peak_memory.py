"""The most memory that this process has held."""

from __future__ import annotations

import resource
import sys

_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_bytes() -> int:
    """Return the peak of the resident set, in bytes, with what is mapped into memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
