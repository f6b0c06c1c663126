"""The summary of a run, laid out in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import as_lines, plural
from lvm_batch.jobs.prediction.results.registration import registered_text
from lvm_batch.jobs.prediction.results.totals import MIN_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.jobs.prediction.results.summary import Selection, Summary
    from lvm_batch.jobs.prediction.results.totals import Gain, Mean, Totals


def as_text(summary: Summary, *, success: bool) -> str:
    """Lay a summary out in lines."""
    return as_lines(
        {
            "rows": (
                f"{summary.totals.rows_out:,} from {plural(summary.files, 'file')}, "
                f"{plural(summary.units, 'unit')}, {summary.units_computed} computed now"
            ),
            "limit": limit_text(summary.limit),
            "selected": _selection(summary.selected),
            **totals_lines(summary.totals),
            "refused": "; ".join(f"{each.worker}: {each.why}" for each in summary.refused_workers),
            "time": f"{summary.wall_s:.1f} s",
            "output": f"{summary.output} ({'_SUCCESS written' if success else 'without _SUCCESS'})",
            "tables": registered_text(summary.registered),
        }
    )


def part_text(summary: Summary, finish: str) -> str:
    """Lay out the summary of a part of a job, and ``finish``, the command that ends the job, if it has not ended."""
    part = summary.part
    if part is None:
        raise ValueError("this is the summary of a whole job")
    lines = {
        "part": f"{part.number}/{part.count}, {plural(summary.units_done, 'unit')} of {summary.units:,} done, "
        f"{summary.units_computed:,} computed now",
        **totals_lines(summary.totals),
        "refused": "; ".join(f"{each.worker}: {each.why}" for each in summary.refused_workers),
        "time": f"{summary.wall_s:.1f} s",
        "job": f"{plural(part.units_done, 'unit')} of {part.units:,} done",
        "next": f"{'' if part.units_done == part.units else 'when all parts have ended: '}{finish}",
    }
    return as_lines(lines)


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
        "cosine": _mean(totals.cosine),
        "gru - amn": _gain(totals.escalation_gain),
    }


def _shares(counts: Mapping[str, int], total: int | None = None) -> str:
    total = sum(counts.values()) if total is None else total
    return ", ".join(f"{name} {count:,} ({count / total:.1%})" for name, count in counts.items() if count)


def _mean(figure: Mean) -> str:
    if figure.mean is None:
        return ""
    return f"{figure.mean:.4f} on average over {plural(figure.n, 'row')} with a target"


def _gain(gain: Gain) -> str:
    if gain.mean is None:
        return ""
    judged = ": the fallback makes them worse" if gain.is_loss else ""
    few = ", too few to say whether the fallback helps" if gain.n < MIN_ROWS else ""
    return f"{gain.mean:+.4f} on average over {plural(gain.n, 'escalated row')}{judged}{few}"
