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
        f"find out why: {commands.inspect}"
        if bad > short
        else "the rows of an article must be together and in order; --pad repeat predicts short contexts, too. "
        f"Check their order: {commands.inspect}",
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
            f"check that the models were trained on vectors of the same encoder: {commands.compare}",
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
            f"look for thresholds at which it helps: {commands.calibrate}",
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
            f"{rate:.1%} of the rows were escalated, more than --max-fallback-rate {budget:.1%}",
            _rate_hint(figures, settings, commands),
            rate,
        )


def _rate_hint(figures: Totals | Selection, settings: Gates, commands: NextCommands) -> str:
    if settings.fallback_policy == "cap":
        return "a cap never applies to high-stakes rows; --high-stakes-lane sets their lanes"
    cap = "give --fallback-policy cap, which keeps to the budget"
    gain = figures.escalation_gain
    if not gain.n or gain.is_loss:  # the warning of a loss has the command
        return f"{cap}, or set lower thresholds"
    return f"{cap}, or find lower thresholds: {commands.calibrate}"


def _no_confidence(summary: Summary) -> Iterator[RunWarning]:
    """The bank holds nothing but the own context of some rows."""
    predicted = summary.totals.rows_by_status.get("ok", 0)
    if summary.bank is not None and (missing := predicted - summary.totals.confidence.n) > 0:
        yield RunWarning(
            "no_confidence",
            f"{missing:,} of {plural(predicted, 'predicted row')} have no confidence, because the bank holds "
            "only their own context: low_confidence and low_margin are false",
            "give a bank with more vectors, or count the own context: --own-context keep",
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
        f"{totals.cosine.n:,} of {plural(predicted, 'predicted row')} ({share:.1%}) have a target: the mean "
        "cosine says little about the others",
        f"a target is the next row of the same article, or comes from the column of targets: {commands.inspect}",
        share,
    )


def _gate_not_judged(totals: Totals, settings: Gates) -> Iterator[RunWarning]:
    if settings.max_fallback_loss is not None and not totals.escalation_gain.n:
        yield RunWarning(
            "gate_not_judged",
            "--max-fallback-loss is not checked: no escalated row has the cosines of both models",
            "give a fallback model and a dataset with targets, or leave out the option",
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
