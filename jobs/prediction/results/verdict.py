"""Whether a run is a success: failed units and gates.

The rule: the verdict follows from the summary and the settings alone, so that a report comes to the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import GateFailed, JobError, UnitsFailed
from lvm_batch.jobs.prediction.execution.worker import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    @property
    def max_fallback_loss(self) -> float | None:
        """The mean cosine that the fallback may lose over escalated rows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The gates of a job of any version, read from its documents; what is not there limits nothing."""

    max_bad_rows: float = 1.0
    max_fallback_rate: float = 1.0
    fallback_policy: str = "warn"
    max_fallback_loss: float | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Limits:
        """Take the limits from settings as plain values."""
        return cls(**{each.name: settings[each.name] for each in fields(cls) if each.name in settings})


def verdict(summary: Summary, settings: Gates) -> JobError | None:
    """Return why the job is not a success, or ``None``.

    Units that failed go before gates: rates of a part say little of the whole. Gates of a run over the files of some
    time are checked twice, on those files and on all.
    """
    missing: list[Failure | UnreadableInput] = [*summary.failed_units, *summary.unreadable_files]
    if missing:
        first = missing[0]
        return UnitsFailed(
            f"{len(missing)} of the inputs' pieces have no output; the first: {first.message}",
            (isinstance(first, Failure) and first.hint)
            or "fix the cause, then run the same command again: it computes what is missing",
        )
    selected = summary.selected
    error = _failed_gate(selected, summary.output, settings) if selected else None
    return error or _failed_gate(summary.totals, summary.output, settings)


def _failed_gate(figures: Totals | Selection, output: str, settings: Gates) -> JobError | None:
    if figures.bad_row_rate > settings.max_bad_rows:
        return GateFailed(
            f"{figures.bad_row_rate:.2%} of the rows are bad_input, more than --max-bad-rows "
            f"{settings.max_bad_rows:.2%}; {_first_bad(figures)}",
            f"check status and status_detail in {output}; to accept it, give a higher --max-bad-rows",
        )
    if settings.fallback_policy == "fail" and figures.fallback_rate > settings.max_fallback_rate:
        return GateFailed(
            f"{figures.fallback_rate:.1%} of the rows were escalated, more than --max-fallback-rate "
            f"{settings.max_fallback_rate:.1%}",
            f"check escalation_reasons in {output}; to accept it, give --fallback-policy warn",
        )
    loss = _fallback_loss(figures)
    if settings.max_fallback_loss is not None and loss > settings.max_fallback_loss:
        return GateFailed(
            f"the fallback makes escalated rows worse by {loss:.4f} in the mean cosine of "
            f"{plural(figures.escalation_gain.n, 'row')}, more than --max-fallback-loss {settings.max_fallback_loss:g}",
            f"check amn_cosine and gru_cosine in {output}; `lvm-batch evaluate --calibrate` looks for "
            "thresholds at which the fallback helps; to accept it, give a higher --max-fallback-loss",
        )
    return None


def _fallback_loss(figures: Totals | Selection) -> float:
    """Return by how much the fallback is worse; 0 where that is not known."""
    return max(0.0, -(figures.escalation_gain.mean or 0.0))


def _first_bad(figures: Totals | Selection) -> str:
    first = figures.bad_rows[0]
    return f"the first is row {first.row} of {first.file}: {first.detail}"
