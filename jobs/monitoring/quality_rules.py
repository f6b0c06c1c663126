"""Rules about the quality of predictions: cosines out of distribution, escalation, what the fallback gains, seen rows.

The rule: figures are pooled over the rows of all runs in the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.monitoring.findings import Finding, lacks, mean_of, runs_with, spell, state_of
from lvm_batch.jobs.monitoring.rule_figures import fallback_rate, interval, pooled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.history.run_entry import RunEntry
    from lvm_batch.jobs.monitoring import rules as declared
    from lvm_batch.jobs.monitoring.rule_figures import Window


def check_ood_cosine(rule: declared.OodCosine, window: Window) -> Finding:
    """Judge the pooled mean cosine of ood rows."""
    runs = runs_with(window.inside, lambda run: run.cosine_ood)
    found = pooled(run.cosine_ood for run in runs)
    if found.mean is None:
        return lacks("ood_cosine", "no rows marked ood with a target")
    return Finding(
        "ood_cosine",
        state_of(found.mean < rule.min),
        f"mean cosine of ood rows {found.mean:.4f}, alert below {rule.min:g}, target {rule.target:g}",
        found.mean,
        rule.min,
        found.n,
        len(runs),
        min(runs, key=lambda run: mean_of(run.cosine_ood)).report,
    )


def check_ood_delta(rule: declared.OodDelta, window: Window) -> Finding:
    """Judge how ood minus in_dist has changed since the runs before the window."""
    runs = [run for run in window.inside if _has_both(run)]
    if not runs:
        return lacks("ood_delta", "no run with rows marked ood and in_dist")
    before = window.reference(_has_both)
    if not before:
        return lacks("ood_delta", "no run before the window with rows marked ood and in_dist")
    now, then = _delta(runs), _delta(before)
    return Finding(
        "ood_delta",
        state_of(then - now > rule.max_drop),
        f"ood minus in_dist {now:+.4f}, before {then:+.4f} ({spell(before)}): a change of {now - then:+.4f}, "
        f"alert where it falls by more than {rule.max_drop:g}",
        now - then,
        -rule.max_drop,
        sum(run.cosine_ood.n + run.cosine_in_dist.n for run in runs),
        len(runs),
        min(runs, key=lambda run: _delta([run])).report,
    )


def check_fallback_rate(rule: declared.FallbackRate, window: Window) -> Finding:
    """Judge the pooled fraction of rows that took the fallback."""
    runs = [run for run in window.inside if run.fallback and run.fallback_rate is not None]
    found = fallback_rate(runs)
    if found.mean is None:
        return lacks("fallback_rate", "no run with a fallback model and rows")
    return Finding(
        "fallback_rate",
        state_of(found.mean > rule.max),
        f"{found.mean:.1%} of the rows were escalated, alert above {rule.max:.1%}",
        found.mean,
        rule.max,
        found.n,
        len(runs),
        max(runs, key=lambda run: run.fallback_rate or 0.0).report,
    )


def check_shadow_gain(rule: declared.ShadowGain, window: Window) -> Finding:
    """Judge by a z-interval whether the fallback is better where the primary was kept."""
    runs = runs_with(window.inside, lambda run: run.shadow_gain)
    found = pooled(run.shadow_gain for run in runs)
    if found.mean is None or found.n < rule.min_rows:
        return lacks(
            "shadow_gain", f"{plural(found.n, 'row')} in the shadow evaluation, {rule.min_rows} are needed"
        )
    ends = interval(found, rule.confidence)
    if ends is None:
        return lacks("shadow_gain", "no standard deviation recorded")
    return Finding(
        "shadow_gain",
        state_of(ends[0] > rule.margin),
        f"gru - amn {found.mean:+.4f} on shadow rows, {rule.confidence:.0%} interval {ends[0]:+.4f} to {ends[1]:+.4f}; "
        f"alert if all of it is above {rule.margin:g}",
        found.mean,
        rule.margin,
        found.n,
        len(runs),
        max(runs, key=lambda run: mean_of(run.shadow_gain)).report,
    )


def check_escalation_gain(rule: declared.EscalationGain, window: Window) -> Finding:
    """Judge by a z-interval whether the fallback makes escalated rows worse."""
    runs = runs_with(window.inside, lambda run: run.escalation_gain)
    found = pooled(run.escalation_gain for run in runs)
    if found.mean is None or found.n < rule.min_rows:
        return lacks("escalation_gain", f"{found.n} escalated rows with a target, {rule.min_rows} are needed")
    ends = interval(found, rule.confidence)
    if ends is None:
        return lacks("escalation_gain", "no standard deviation recorded")
    return Finding(
        "escalation_gain",
        state_of(ends[1] < -rule.max_loss),
        f"gru - amn {found.mean:+.4f} on escalated rows, {rule.confidence:.0%} interval {ends[0]:+.4f} to "
        f"{ends[1]:+.4f}; alert if all of it is below {0 - rule.max_loss:g}",
        found.mean,
        0 - rule.max_loss,
        found.n,
        len(runs),
        min(runs, key=lambda run: mean_of(run.escalation_gain)).report,
    )


def check_seen_rows(rule: declared.SeenRows, window: Window) -> Finding:
    """Judge the share of sampled rows that the primary model was trained on."""
    runs = runs_with(window.inside, lambda run: run.input_seen)
    found = pooled(run.input_seen for run in runs)
    if found.mean is None:
        return lacks(
            "seen_rows",
            "unknown: no run sampled its input with a model that has a digest of its training vectors",
        )
    return Finding(
        "seen_rows",
        state_of(found.mean > rule.max),
        f"{round(found.mean * found.n):,} of {plural(found.n, 'sampled row')} ({found.mean:.1%}) were in the "
        f"training of the primary model, alert above {rule.max:.1%}",
        found.mean,
        rule.max,
        found.n,
        len(runs),
        max(runs, key=lambda run: mean_of(run.input_seen)).report,
    )


def _has_both(run: RunEntry) -> bool:
    return bool(run.cosine_ood.n and run.cosine_in_dist.n)


def _delta(runs: Sequence[RunEntry]) -> float:
    """Mean cosine of ood rows minus that of in_dist rows, of runs that have both."""
    return mean_of(pooled(run.cosine_ood for run in runs)) - mean_of(
        pooled(run.cosine_in_dist for run in runs)
    )
