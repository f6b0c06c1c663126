"""Rules about sampled rows: whether inputs, predictions, confidence and reasons are still those of before.

The rule: no target is needed, and what a change of models, bank or thresholds explains is not compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.monitoring.compared_samples import ComparedSamples, compare_samples
from lvm_batch.jobs.monitoring.findings import Finding, lacks, spell, state_of
from lvm_batch.jobs.monitoring.shifts import distribution_apart, find_shift, shares_apart, told_apart

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.history.run_entry import RunEntry
    from lvm_batch.jobs.monitoring import rules as declared
    from lvm_batch.jobs.monitoring.rule_figures import Window
    from lvm_batch.jobs.monitoring.shifts import Shift


def check_input_drift(rule: declared.InputDrift, window: Window) -> Finding:
    """Judge whether a classifier tells sampled inputs from those before."""
    compared = compare_samples(window, rule)
    if isinstance(compared, str):
        return lacks("input_drift", compared)
    values = compared.column("inputs")
    shift = find_shift(compared.rows, told_apart(values), floor=rule.min_auc)
    norm, likeness = (_means(compared, values[:, place]) for place in (-2, -1))
    return _finding(
        rule,
        compared,
        shift,
        name="input_drift",
        what=f"AUC {shift.size:.3f} of a classifier that separates inputs from earlier ones (0.5 is chance); "
        f"mean norm {norm}; mean cosine "
        f"of a context's last two vectors {likeness}",
        advice="check what changed: source, encoder, normalisation or order of rows (`lvm-batch inspect DATASET`)",
    )


def check_prediction_drift(rule: declared.PredictionDrift, window: Window) -> Finding:
    """Judge whether a classifier tells sampled predictions from those before, of the same models."""
    compared = compare_samples(window, rule, _models, what="of the same models")
    if isinstance(compared, str):
        return lacks("prediction_drift", compared)
    shift = find_shift(compared.rows, told_apart(compared.column("predictions")), floor=rule.min_auc)
    return _finding(
        rule,
        compared,
        shift,
        name="prediction_drift",
        what=f"AUC {shift.size:.3f} of a classifier that separates predictions from earlier ones (0.5 is chance)",
        advice="if input_drift does not fire, compare this run's settings, precision and routes with earlier ones",
    )


def check_confidence_drift(rule: declared.ConfidenceDrift, window: Window) -> Finding:
    """Judge whether confidence is distributed as before, with the same models and bank."""
    compared = compare_samples(window, rule, _models, _bank, what="of the same models and bank")
    if isinstance(compared, str):
        return lacks("confidence_drift", compared)
    values = compared.column("confidence")
    known = ~np.isnan(values)
    now, then = (part[~np.isnan(part)] for part in compared.split(values))
    if not len(now) or not len(then):
        return lacks("confidence_drift", "there is no confidence, because no bank was used")
    shift = find_shift(
        compared.rows.choose(known), distribution_apart(values[known]), floor=rule.min_distance
    )
    return _finding(
        rule,
        compared,
        shift,
        name="confidence_drift",
        what=f"median confidence {np.median(now):.3f}, before {np.median(then):.3f}; the shares of rows below a value "
        f"differ by up to {shift.size:.3f}",
        advice="check whether the bank covers these rows, and find --min-confidence again (`evaluate --calibrate`)",
    )


def check_reason_drift(rule: declared.ReasonDrift, window: Window) -> Finding:
    """Judge whether the mix of reasons to escalate is that of before, with the same models, bank and thresholds."""
    what = "of the same models, bank and thresholds"
    compared = compare_samples(window, rule, _models, _bank, _thresholds, what=what)
    if isinstance(compared, str):
        return lacks("reason_drift", compared)
    values = compared.column("reasons")
    shift = find_shift(compared.rows, shares_apart(values), floor=rule.min_share)
    return _finding(
        rule,
        compared,
        shift,
        name="reason_drift",
        what=f"a share of {shift.size:.3f} of the rows has other reasons to escalate than before; "
        f"{_most_changed(compared)}",
        advice="check the lanes, context lengths and confidence of these rows",
    )


def _finding(
    rule: declared.SampleRule, compared: ComparedSamples, shift: Shift, *, name: str, what: str, advice: str
) -> Finding:
    """Return the finding; an alert also says how likely it is by chance, and what to do."""
    fires = shift.fires(rule.max_p)
    usual = "" if shift.usual is None else f", usual {shift.usual:.3f}"
    chance = "" if shift.p is None else f", p = {shift.p:.3f}"
    limit = f"alert above {shift.threshold:.3f}{usual}{chance}"
    return Finding(
        name,
        state_of(fires),
        f"{what} ({spell(compared.before)}); {limit}{f'; {advice}' if fires else ''}",
        shift.size,
        shift.threshold,
        compared.n_rows,
        len(compared.inside),
        compared.inside[-1].report,
        {"p": shift.p, "usual": shift.usual, "articles": compared.n_articles},
    )


def _models(run: RunEntry) -> object:
    return run.primary.sha256, run.fallback and run.fallback.sha256


def _bank(run: RunEntry) -> object:
    return run.bank


def _thresholds(run: RunEntry) -> object:
    """Return the thresholds, and the reasons that the run could give: a router has one of its own."""
    return run.thresholds, run.row_sample and run.row_sample.reason_names


def _means(compared: ComparedSamples, values: NDArray[Any]) -> str:
    now, then = (float(part.mean()) for part in compared.split(values))
    return f"{now:.3f}, before {then:.3f}"


def _most_changed(compared: ComparedSamples) -> str:
    """Say of which reason the share of rows has changed most."""
    names = compared.samples[0].reason_names.split(",")
    bits = compared.column("reasons")[:, None] >> np.arange(len(names)) & 1  # (n, reasons)
    now, then = bits[: compared.n_rows].mean(axis=0), bits[compared.n_rows :].mean(axis=0)
    most = int(np.abs(now - then).argmax())
    return f"{names[most]} {now[most]:.1%} of the rows, before {then[most]:.1%}"
