"""Whether a run is a success: failed units, gates, and warnings.

The rule: the verdict follows from the summary and the settings alone, so that a report comes to the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lvm_batch.jobs.errors import GateFailed, JobError, UnitsFailed
from lvm_batch.jobs.prediction.execution.worker import Failure

if TYPE_CHECKING:
    from lvm_batch.jobs.prediction.results.summary import Selection, Summary, UnreadableInput
    from lvm_batch.jobs.prediction.results.totals import Totals


class Gates(Protocol):
    """The settings that a verdict follows from."""

    @property
    def max_bad_rows(self) -> float:
        """The share of rows that may be bad."""

    @property
    def max_fallback_rate(self) -> float:
        """The share of rows that may take the fallback."""

    @property
    def fallback_policy(self) -> str:
        """The action beyond that share."""


def warnings_of(summary: Summary, settings: Gates) -> list[str]:
    """Return warnings: facts to look at although nothing failed."""
    warnings = []
    rate, target = summary.totals.fallback_rate, settings.max_fallback_rate
    if rate > target and settings.fallback_policy != "fail":
        warnings.append(
            f"{rate:.1%} of the rows took the fallback, more than --max-fallback-rate {target:.1%}"
        )
    missing = summary.units - summary.units_done - len(summary.failed_units)
    if missing or len(summary.left_out) > len(summary.unreadable_files):
        warnings.append(
            "parts of other times have no output, so that _SUCCESS does not stand: the same command without --since, "
            "--until and --lookback makes them"
        )
    return warnings


def verdict(summary: Summary, settings: Gates) -> JobError | None:
    """Return why the job is not a success, or ``None``.

    Units that failed go before gates: rates of a part say little of the whole. Gates of a run over the files of some
    time are checked twice, on those files and on all.
    """
    missing: list[Failure | UnreadableInput] = [*summary.failed_units, *summary.unreadable_files]
    if missing:
        first = missing[0]
        return UnitsFailed(
            f"{len(missing)} of the inputs' parts have no output; the first: {first.message}",
            (isinstance(first, Failure) and first.hint)
            or "mend what is named, then run the same command again: it does what is missing",
        )
    selected = summary.selected
    error = _failed_gate(selected, summary.output, settings) if selected else None
    return error or _failed_gate(summary.totals, summary.output, settings)


def _failed_gate(figures: Totals | Selection, output: str, settings: Gates) -> JobError | None:
    if figures.bad_row_rate > settings.max_bad_rows:
        return GateFailed(
            f"{figures.bad_row_rate:.2%} of the rows are bad_input, more than --max-bad-rows "
            f"{settings.max_bad_rows:.2%}; {_first_bad(figures)}",
            f"look at status and status_detail in {output}; with a higher --max-bad-rows the same command accepts it",
        )
    if settings.fallback_policy == "fail" and figures.fallback_rate > settings.max_fallback_rate:
        return GateFailed(
            f"{figures.fallback_rate:.1%} of the rows took the fallback, more than --max-fallback-rate "
            f"{settings.max_fallback_rate:.1%}",
            f"look at escalation_reasons in {output}; --fallback-policy warn accepts it",
        )
    return None


def _first_bad(figures: Totals | Selection) -> str:
    first = figures.bad_rows[0]
    return f"the first is row {first.row} of {first.file}: {first.detail}"
