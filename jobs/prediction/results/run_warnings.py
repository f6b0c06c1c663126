"""Warnings about the results of a run: what a user should look at although nothing failed.

The rule: a warning names the figure and the next command. It follows from totals, settings and models alone, so that a
run, ``status`` and a report give the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.prediction.results.next_commands import NextCommands
from lvm_batch.jobs.prediction.results.summary import RunWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.prediction.results.summary import Selection, Summary
    from lvm_batch.jobs.prediction.results.totals import Totals
    from lvm_batch.jobs.prediction.results.verdict import Gates

ALMOST_ALL = 0.9
"""From this fraction of the rows on, what they lack is no exception."""


def warnings_of_run(summary: Summary, settings: Gates) -> tuple[RunWarning, ...]:
    """Return the warnings of a run that ends: about the rows of the job, about those of this run, about missing parts.

    As gates are, the fallback is judged twice: on all rows, and on those of the files in the requested time.
    """
    commands = NextCommands.after(summary)
    found = warnings_of(summary.totals, settings, commands)
    known = {warning.kind for warning in found}
    of_selection = _fallback(summary.selected, settings, commands) if summary.selected else ()
    return (
        *found,
        *(warning for warning in of_selection if warning.kind not in known),
        *_no_confidence(summary),
        *_missing_parts(summary),
    )


def warnings_of(totals: Totals, settings: Gates, commands: NextCommands) -> tuple[RunWarning, ...]:
    """Return the warnings about the rows of a job, the gravest first."""
    return (
        *_no_prediction(totals, commands),
        *_worse_than_context(totals, commands),
        *_fallback(totals, settings, commands),
        *_few_targets(totals, commands),
        *_gate_not_judged(totals, settings),
    )


def _no_prediction(totals: Totals, commands: NextCommands) -> Iterator[RunWarning]:
    """Almost all rows are bad or have a short context."""
    short, bad = (totals.rows_by_status.get(status, 0) for status in ("short_context", "bad_input"))
    if not totals.rows_out or (share := (short + bad) / totals.rows_out) < ALMOST_ALL:
        return
    yield RunWarning(
        "no_prediction",
        f"{share:.1%} of the rows have no prediction: {short:,} are short_context, {bad:,} bad_input",
        f"see what is wrong with them: {commands.inspect}"
        if bad > short
        else "the rows of an article must stand together and in order; --pad repeat predicts short contexts, too. "
        f"See how they stand: {commands.inspect}",
        share,
    )


def _worse_than_context(totals: Totals, commands: NextCommands) -> Iterator[RunWarning]:
    """The mean of the context, which needs no model, predicts better than the models do."""
    gain = totals.context_gain
    if gain.is_loss and gain.mean is not None:
        yield RunWarning(
            "worse_than_context",
            f"the predictions are worse than the mean of the context: {gain.mean:+.4f} ± {gain.error:.4f} in the mean "
            f"cosine of {plural(gain.n, 'row')} that were compared",
            "see that the models were trained on vectors of this kind, made by the same encoder: "
            f"{commands.compare}",
            gain.mean,
        )


def _fallback(figures: Totals | Selection, settings: Gates, commands: NextCommands) -> Iterator[RunWarning]:
    yield from _fallback_loss(figures, commands)
    yield from _fallback_rate(figures, settings, commands)


def _fallback_loss(figures: Totals | Selection, commands: NextCommands) -> Iterator[RunWarning]:
    """The fallback makes escalated rows worse, by more than chance."""
    gain = figures.escalation_gain
    if gain.is_loss and gain.mean is not None:
        yield RunWarning(
            "fallback_loss",
            f"the fallback makes escalated rows worse: gru - amn is {gain.mean:+.4f} ± {gain.error:.4f} in the mean "
            f"cosine of {plural(gain.n, 'row')}",
            f"find thresholds at which it helps, if there are any: {commands.calibrate}",
            gain.mean,
        )


def _fallback_rate(
    figures: Totals | Selection, settings: Gates, commands: NextCommands
) -> Iterator[RunWarning]:
    """More rows escalate than the budget allows. Under the policy ``fail`` that is a gate."""
    rate, budget = figures.fallback_rate, settings.max_fallback_rate
    if rate > budget and settings.fallback_policy != "fail":
        yield RunWarning(
            "fallback_rate",
            f"{rate:.1%} of the rows took the fallback, more than --max-fallback-rate {budget:.1%}",
            _rate_hint(figures, settings, commands),
            rate,
        )


def _rate_hint(figures: Totals | Selection, settings: Gates, commands: NextCommands) -> str:
    if settings.fallback_policy == "cap":
        return "a cap never turns down a row of high stakes; --high-stakes-lane says which lanes are"
    cap = "give --fallback-policy cap, which keeps to the budget"
    gain = figures.escalation_gain
    if not gain.n or gain.is_loss:  # the warning of a loss has the command
        return f"{cap}, or thresholds that fewer rows miss"
    return f"{cap}, or find thresholds that do: {commands.calibrate}"


def _no_confidence(summary: Summary) -> Iterator[RunWarning]:
    """The bank holds nothing but the own context of some rows."""
    predicted = summary.totals.rows_by_status.get("ok", 0)
    if summary.bank is not None and (missing := predicted - summary.totals.confidence.n) > 0:
        yield RunWarning(
            "no_confidence",
            f"{missing:,} of {plural(predicted, 'predicted row')} have no confidence: the bank holds nothing but their "
            "own context, so that low_confidence and low_margin are false",
            "give a bank of more vectors, or let the own context count: --own-context keep",
            missing,
        )


def _few_targets(totals: Totals, commands: NextCommands) -> Iterator[RunWarning]:
    """Almost no prediction has a target although the input has some or, in sequences, must have some."""
    predicted = totals.rows_by_status.get("ok", 0)
    expected = totals.cosine.n or totals.rows_by_status.get("short_context", 0)
    if not predicted or not expected or 1 - (share := totals.cosine.n / predicted) < ALMOST_ALL:
        return
    yield RunWarning(
        "few_targets",
        f"{totals.cosine.n:,} of {plural(predicted, 'predicted row')} ({share:.1%}) have a target: the mean cosine "
        "says little of the others",
        f"a target is the next row of the same article, or stands in the column of targets: {commands.inspect}",
        share,
    )


def _gate_not_judged(totals: Totals, settings: Gates) -> Iterator[RunWarning]:
    if settings.max_fallback_loss is not None and not totals.escalation_gain.n:
        yield RunWarning(
            "gate_not_judged",
            "--max-fallback-loss is not judged: no escalated row has the cosines of both models",
            "give a fallback model and a dataset with targets, or leave the option out",
            0.0,
        )


def _missing_parts(summary: Summary) -> Iterator[RunWarning]:
    """Parts that no run of this selection makes."""
    missing = summary.units - summary.units_done - len(summary.failed_units)
    if missing or len(summary.left_out) > len(summary.unreadable_files):
        yield RunWarning(
            "missing_parts",
            "parts of other times have no output yet, so there is no _SUCCESS",
            "the same command without --since, --until and --lookback computes them",
            missing,
        )
