"""Rules about the time and the memory of single queries.

The rule: a run is compared with the first one of such a model on the same processor, so that a slow or busy machine is
judged by what it did before. Runs that do not say what they ran on are judged by the cards' limits alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.monitoring.findings import Finding, lacks, state_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvm_batch.io.history.run_entry import RunEntry
    from lvm_batch.jobs.monitoring import rules as declared
    from lvm_batch.jobs.monitoring.rule_figures import Window


def check_query_p95(rule: declared.QueryP95, window: Window) -> Finding:
    """Judge the run whose p95 of a single query is furthest above, or nearest to, its limit."""
    runs = [run for run in window.inside if run.query_p95_ms is not None]
    if not runs:
        return lacks("query_p95", "no run recorded it")
    limits = [_p95_limit(rule, run, window) for run in runs]
    slowest, limit = max(zip(runs, limits, strict=True), key=lambda one: _p95_ms(one[0]) / one[1])
    found = _p95_ms(slowest)
    why = f" ({rule.max_growth:g} times the first on this processor)" if limit > rule.max_ms else ""
    return Finding(
        "query_p95",
        state_of(found > limit),
        f"p95 of a single query {found:.3f} ms, alert above {limit:.4g}{why}, objective {rule.objective_ms:g}, "
        f"target {rule.target_ms:g}",
        found,
        limit,
        sum(run.rows_in for run in runs),
        len(runs),
        slowest.report,
    )


def _p95_limit(rule: declared.QueryP95, run: RunEntry, window: Window) -> float:
    first = _first(run, window, _p95_ms)
    return rule.max_ms if first is None else max(rule.max_ms, rule.max_growth * first)


def check_query_rate(rule: declared.QueryRate, window: Window) -> Finding:
    """Judge the run whose queries a second fell furthest behind the first on its processor."""
    runs = [run for run in window.inside if run.query_mean_ms]
    known = [(run, first) for run in runs if (first := _first(run, window, _rate)) is not None]
    if not known:
        return lacks("query_rate", "no run recorded it together with the processor")
    run, first = min(known, key=lambda one: _rate(one[0]) / one[1])
    rate, limit = _rate(run), min(rule.target, rule.min_share * first)
    return Finding(
        "query_rate",
        state_of(rate < limit),
        f"{rate:,.0f} queries/s of one thread, {rate / first:.0%} of the first on this processor, {first:,.0f}; alert "
        f"below {limit:,.0f}, target {rule.target:,.0f}",
        rate,
        limit,
        sum(one.rows_in for one, _ in known),
        len(known),
        run.report,
    )


def check_query_memory(rule: declared.QueryMemory, window: Window) -> Finding:
    """Judge the run whose memory of a query is furthest above, or nearest to, its limit."""
    runs = [run for run in window.inside if run.query_memory_bytes is not None]
    if not runs:
        return lacks("query_memory", "no run recorded it")
    limits = [max(rule.max_mb, rule.max_growth * (_first(run, window, _memory_mb) or 0.0)) for run in runs]
    largest, limit = max(zip(runs, limits, strict=True), key=lambda one: _memory_mb(one[0]) / one[1])
    found = _memory_mb(largest)
    why = f" ({rule.max_growth:g} times the first on this processor)" if limit > rule.max_mb else ""
    return Finding(
        "query_memory",
        state_of(found > limit),
        f"the model and a query take {found:.1f} MB, alert above {limit:.4g}{why}, target {rule.target_mb:g}",
        found,
        limit,
        sum(run.rows_in for run in runs),
        len(runs),
        largest.report,
    )


def _first(run: RunEntry, window: Window, figure: Callable[[RunEntry], float]) -> float | None:
    """Return the figure of the first run of such a model on the run's processor, None if nothing is known of it."""
    if run.query_processor is None:
        return None
    same = (
        figure(one)
        for one in (*window.before, *window.inside)
        if one.query_processor == run.query_processor and one.primary.architecture == run.primary.architecture
    )
    return next((value for value in same if value), None)


def _p95_ms(run: RunEntry) -> float:
    return run.query_p95_ms or 0.0


def _memory_mb(run: RunEntry) -> float:
    return (run.query_memory_bytes or 0) / 1e6


def _rate(run: RunEntry) -> float:
    return 1000 / run.query_mean_ms if run.query_mean_ms else 0.0
