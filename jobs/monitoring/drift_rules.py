"""Rules about the input: whether its vectors are still those of before.

The rule: the window's sample is compared with that of the runs before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.jobs.monitoring.findings import Finding, lacks, mean_of, spell, state_of
from lvm_batch.jobs.monitoring.rule_figures import centroid, has_centroid, has_norm, input_norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.history.run_entry import RunEntry
    from lvm_batch.jobs.monitoring import rules as declared
    from lvm_batch.jobs.monitoring.rule_figures import Window


def check_input_norm(rule: declared.InputNorm, window: Window) -> Finding:
    """Judge how the norm of input vectors has changed since the runs before the window."""
    runs = [run for run in window.inside if has_norm(run)]
    now = input_norm(runs)
    if now.mean is None:
        return lacks("input_norm", "no run recorded it")
    before = window.reference(lambda run: has_norm(run) and mean_of(run.input_norm) > 0)
    then = input_norm(before).mean
    if not then:
        return lacks("input_norm", "no run before the window recorded it")
    change = now.mean / then - 1
    return Finding(
        "input_norm",
        state_of(abs(change) > rule.max_change),
        f"mean norm of input vectors {now.mean:.4g}, before {then:.4g} ({spell(before)}): {change:+.1%}, alert beyond "
        f"{rule.max_change:.1%}",
        change,
        rule.max_change,
        now.n,
        len(runs),
        max(runs, key=lambda run: abs(mean_of(run.input_norm) - then)).report,
    )


def check_input_centroid(rule: declared.InputCentroid, window: Window) -> Finding:
    """Judge how the mean input vector has turned since the runs before the window."""
    runs = [run for run in window.inside if has_centroid(run)]
    if not runs:
        return lacks("input_centroid", "no run recorded it")
    before = window.reference(has_centroid)
    if not before:
        return lacks("input_centroid", "no run before the window recorded it")
    found = _likeness(runs, before)
    if found is None:
        return lacks("input_centroid", "vectors have several widths, or are all zeros")
    return Finding(
        "input_centroid",
        state_of(found < rule.min_cosine),
        f"cosine of the mean input vector with the one before ({spell(before)}) {found:.4f}, alert below "
        f"{rule.min_cosine:g}",
        found,
        rule.min_cosine,
        sum(run.rows_in for run in runs),
        len(runs),
        min(runs, key=lambda run: _likeness([run], before) or 0.0).report,
    )


def _likeness(runs: Sequence[RunEntry], before: Sequence[RunEntry]) -> float | None:
    now, then = centroid(runs), centroid(before)
    if now is None or then is None or len(now) != len(then):
        return None
    norms = float(np.linalg.norm(now) * np.linalg.norm(then))
    return float(now @ then) / norms if norms else None
