"""How many rows go through the models at a time.

The rule: batches are cut from a unit's first row, by these sizes alone, so that workers and interruptions
change no value.
"""

from __future__ import annotations

BATCH_ROWS = 1024
"""Rows run through the primary model at once, cut from a unit's first row. It is part of a job's fingerprint."""

BLOCK_BATCHES = 8
"""Batches that make one row group of the output, and beyond which no row waits for the fallback."""

FALLBACK_ROWS = 512
"""Candidates that are gathered before the fallback runs: in fewer rows at a time it is slower."""
