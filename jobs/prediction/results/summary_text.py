"""The summary of a run, laid out in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import as_lines, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.jobs.prediction.results.summary import Selection, Summary
    from lvm_batch.jobs.prediction.results.totals import Mean, Totals


def as_text(summary: Summary, *, success: bool) -> str:
    """Lay a summary out in lines."""
    return as_lines(
        {
            "rows": (
                f"{summary.totals.rows_out:,} from {plural(summary.files, 'file')}, "
                f"{plural(summary.units, 'unit')}, {summary.units_computed} of them computed now"
            ),
            "limit": limit_text(summary.limit),
            "selected": _selection(summary.selected),
            **totals_lines(summary.totals),
            "refused": "; ".join(f"{each.worker}: {each.why}" for each in summary.refused_workers),
            "time": f"{summary.wall_s:.1f} s",
            "output": f"{summary.output} ({'_SUCCESS stands' if success else 'without _SUCCESS'})",
        }
    )


def limit_text(limit: int | None) -> str:
    """Return how many rows a job reads, if not all."""
    return "" if limit is None else f"only the first {plural(limit, 'row')} of the dataset"


def _selection(selected: Selection | None) -> str:
    if selected is None:
        return ""
    bounds = {"since": selected.since, "until": selected.until}
    span = " ".join(f"{word} {time.isoformat()}" for word, time in bounds.items() if time)
    counts = plural(selected.rows_out, "row"), plural(selected.files, "file"), plural(selected.units, "unit")
    return "{} from {}, {}, ".format(*counts) + span


def totals_lines(totals: Totals) -> dict[str, str]:
    """Return a line for each figure of interest."""
    return {
        "routes": _shares(totals.rows_by_route),
        "reasons": _shares(totals.rows_by_reason, totals.rows_out),
        "status": _shares(totals.rows_by_status),
        "cosine": _mean(totals.cosine, "rows with a target"),
        "gru - amn": _mean(totals.escalation_gain, "escalated rows", signed=True),
    }


def _shares(counts: Mapping[str, int], total: int | None = None) -> str:
    total = sum(counts.values()) if total is None else total
    return ", ".join(f"{name} {count:,} ({count / total:.1%})" for name, count in counts.items() if count)


def _mean(figure: Mean, of_what: str, *, signed: bool = False) -> str:
    if figure.mean is None:
        return ""
    return f"{figure.mean:{'+' if signed else ''}.4f} in the mean over {figure.n:,} {of_what}"
