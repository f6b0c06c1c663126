"""Rules about resources of runs: rows per second, memory.

The rule: each run is judged by itself, and the worst one is reported.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from lvm_batch.jobs.monitoring.findings import Finding, lacks, state_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.history.run_entry import RunEntry
    from lvm_batch.jobs.monitoring import rules as declared
    from lvm_batch.jobs.monitoring.rule_figures import Window

_MIB = 2**20
_ROWS_APART = 2  # runs whose rows differ by more are not compared: start-up is another share of their time


def check_rows_per_s(rule: declared.RowsPerS, window: Window) -> Finding:
    """Judge the run that fell furthest behind the runs before it of its shape and size."""
    known = [run for run in (*window.before, *window.inside) if run.rows_per_s]
    compared = [
        (run, (run.rows_per_s or 0.0), _usual_rate(run, known, rule))
        for run in window.inside
        if run.rows_per_s
    ]
    judged = [(run, rate, usual) for run, rate, usual in compared if usual is not None]
    if not judged:
        return lacks("rows_per_s", f"no run follows {rule.min_runs} runs of its shape and size")
    run, rate, usual = min(judged, key=lambda one: one[1] / one[2])
    return Finding(
        "rows_per_s",
        state_of(rate < rule.min_share * usual),
        f"{rate:,.0f} rows/s, {rate / usual:.0%} of the median of the runs before it, {usual:,.0f}; alert below "
        f"{rule.min_share:.0%}",
        rate,
        rule.min_share * usual,
        sum(one.rows_in for one, _, _ in judged),
        len(judged),
        run.report,
    )


def _usual_rate(run: RunEntry, known: Sequence[RunEntry], rule: declared.RowsPerS) -> float | None:
    earlier = [
        one.rows_per_s or 0.0
        for one in known
        if one.shape == run.shape
        and one.ended <= run.started
        and run.rows_in <= _ROWS_APART * one.rows_in
        and one.rows_in <= _ROWS_APART * run.rows_in
    ][-rule.last_runs :]
    return median(earlier) if len(earlier) >= rule.min_runs else None


def check_memory(rule: declared.Memory, window: Window) -> Finding:
    """Judge the run whose workers held most of what was projected."""
    known = [
        (run, run.peak_bytes, run.projected_bytes)
        for run in window.inside
        if run.peak_bytes is not None and run.projected_bytes
    ]
    if not known:
        return lacks("memory", "no run recorded it")
    run, peak, projected = max(known, key=lambda one: one[1] / one[2])
    return Finding(
        "memory",
        state_of(peak > rule.max_share * projected),
        f"a worker held {peak / _MIB:,.0f} MiB at its peak, {peak / projected:.0%} of the {projected / _MIB:,.0f} MiB "
        f"projected; alert above {rule.max_share:.0%}",
        peak / projected,
        rule.max_share,
        sum(one.rows_in for one, _, _ in known),
        len(known),
        run.report,
    )
