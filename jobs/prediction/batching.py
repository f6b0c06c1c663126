"""How many rows go through the models at a time.

The rule: batches are cut from a unit's first row, by these sizes alone, so that neither the number of workers nor an
interruption changes a value.
"""

from __future__ import annotations

BATCH_ROWS = 1024
"""Rows that the primary model predicts at once; part of a job's fingerprint."""

BLOCK_BATCHES = 8
"""Batches that make one row group of the output; no row waits for the fallback longer than that."""

FALLBACK_ROWS = 512
"""Candidates to gather before the fallback runs; it is slower with fewer rows at a time."""
