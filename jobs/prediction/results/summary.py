"""What came of a job: totals, gates, and the text that people read.

The rule: every figure is made of the commit records, so that a run that resumed and one that did not tell the
same. This module does not know how the work was done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.schema import ROUTES, SPLITS
from lvm_batch.jobs.console.text import as_lines, plural
from lvm_batch.jobs.errors import GateFailed, JobError, UnitsFailed
from lvm_batch.jobs.prediction.execution.tally import NOTHING, SHOWN_BAD_ROWS, add_tallies, empty_tally, mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from lvm_batch.io.output.answers import Record
    from lvm_batch.jobs.models.self_check import Refusal
    from lvm_batch.jobs.prediction.execution.worker import Failure
    from lvm_batch.jobs.prediction.planning.plan import Prepared
    from lvm_batch.jobs.settings.run import RunSettings

_MEANS = ("cosine", "amn_cosine", "gru_cosine", "escalation_gain", "shadow_gain", "confidence", "margin")
_MEANS_BY_PART = {"cosine_by_split": SPLITS, "cosine_by_route": ROUTES}
_COUNTS = (
    "rows_by_route",
    "rows_by_reason",
    "rows_by_status",
    "rows_by_detail",
    "rows_with_reasons",
    "shadow_rows",
)


def totals_of(records: Iterable[Record]) -> dict[str, Any]:
    """Add up commit records: counts, rates, means, seconds, and the first bad rows with their files."""
    records = sorted(records, key=lambda record: str(record["output"]))
    counted = tuple(empty_tally())
    total = add_tallies(
        {name: record[name] for name in counted if name in record} for record in records
    )  # records of older versions have less
    routed = sum(total["rows_by_route"].values())
    rows_in = sum(record["rows_in"] for record in records)
    return {
        "rows_in": rows_in,
        "rows_out": total["rows_out"],
        **{name: total[name] for name in _COUNTS},
        "fallback_rate": total["rows_by_route"]["gru"] / routed if routed else 0.0,
        "bad_row_rate": total["rows_by_status"]["bad_input"] / rows_in if rows_in else 0.0,
        **{name: _mean_of(total[name]) for name in _MEANS},
        **{
            name: {part: _mean_of(total[name].get(part, NOTHING)) for part in parts}
            for name, parts in _MEANS_BY_PART.items()
        },
        "bad_rows": _bad_rows(records),
        "seconds": _seconds(records),
    }


def summarise(
    prepared: Prepared,
    settings: RunSettings,
    asked: Mapping[str, Any],
    records: Mapping[str, Record],
    failures: Sequence[Failure],
    *,
    units_computed: int,
    rows_computed: int,
    refused: Sequence[Refusal] = (),
    wall_s: float,
) -> dict[str, Any]:
    """Return the summary of a run that has come to its end; ``asked`` is its job, with all that it has grown by."""
    job = prepared.job
    return {
        "job_id": job.job_id,
        "fingerprint": job.fingerprint,
        "output": job.output,
        "files": len({unit["input"] for unit in asked["units"]}),
        "units": len(asked["units"]),
        "units_done": len(records),
        "units_computed": units_computed,
        "rows_computed": rows_computed,
        "failed_units": [failure.as_dict for failure in failures],
        "refused_workers": [refusal.as_dict for refusal in refused],
        "left_out": asked["unreadable"],
        "unreadable_files": [{"path": error.path, "message": error.args[0]} for error in prepared.unreadable],
        **totals_of(records.values()),
        "selected": _selected(prepared, records),
        "criteria_not_evaluated": prepared.unavailable,
        "notices": list(prepared.notices),
        "wall_s": round(wall_s, 3),
        "models": {
            route: None if model is None else {"path": model.path, "sha256": model.sha256}
            for route, model in (("amn", job.models.primary), ("gru", job.models.fallback))
        },
        "bank": job.models.bank.path if job.models.bank else None,
        "settings": settings.as_dict(),
    }


def _selected(prepared: Prepared, records: Mapping[str, Record]) -> dict[str, Any] | None:
    """Figures of the files of the time that was asked for; ``None`` where all files were."""
    if prepared.span is None:
        return None
    done = [records[unit.output] for unit in prepared.units if unit.output in records]
    totals = totals_of(done)
    kept = ("rows_in", "rows_out", "fallback_rate", "bad_row_rate", "bad_rows")
    return {
        "since": _iso(prepared.span.since),
        "until": _iso(prepared.span.until),
        "files": len(prepared.footers),
        "units": len(prepared.units),
        "units_done": len(done),
        **{name: totals[name] for name in kept},
    }


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def is_whole(summary: Mapping[str, Any]) -> bool:
    """Whether every unit of the job is committed, also those that this run did not look at."""
    return bool(summary["units_done"] == summary["units"] and not summary["left_out"])


def warnings_of(summary: Mapping[str, Any], settings: RunSettings) -> list[str]:
    """Return what is worth a look although nothing failed."""
    warnings = []
    rate, target = summary["fallback_rate"], settings.max_fallback_rate
    if rate > target and settings.fallback_policy != "fail":
        warnings.append(
            f"{rate:.1%} of the rows took the fallback, more than --max-fallback-rate {target:.1%}"
        )
    missing = summary["units"] - summary["units_done"] - len(summary["failed_units"])
    if missing or len(summary["left_out"]) > len(summary["unreadable_files"]):
        warnings.append(
            "parts of other times have no output, so that _SUCCESS does not stand: the same command without --since, "
            "--until and --lookback makes them"
        )
    return warnings


def verdict(summary: Mapping[str, Any], settings: RunSettings) -> JobError | None:
    """Return why the job is not a success, or ``None``.

    Units that failed go before gates: rates of a part say little of the whole. Of a run over the files of some time the
    gates are asked twice, of those files and of all.
    """
    missing = len(summary["failed_units"]) + len(summary["unreadable_files"])
    if missing:
        first = (summary["failed_units"] + summary["unreadable_files"])[0]
        return UnitsFailed(
            f"{missing} of the inputs' parts have no output; the first: {first['message']}",
            first.get("hint")
            or "mend what is named, then run the same command again: it does what is missing",
        )
    selected = summary.get("selected")
    if selected and (error := _gates({**summary, **selected}, settings)):
        return error
    return _gates(summary, settings)


def _gates(summary: Mapping[str, Any], settings: RunSettings) -> JobError | None:
    output = summary["output"]
    if summary["bad_row_rate"] > settings.max_bad_rows:
        return GateFailed(
            f"{summary['bad_row_rate']:.2%} of the rows are bad_input, more than --max-bad-rows "
            f"{settings.max_bad_rows:.2%}; {_first_bad(summary)}",
            f"look at status and status_detail in {output}; with a higher --max-bad-rows the same command accepts it",
        )
    if settings.fallback_policy == "fail" and summary["fallback_rate"] > settings.max_fallback_rate:
        return GateFailed(
            f"{summary['fallback_rate']:.1%} of the rows took the fallback, more than --max-fallback-rate "
            f"{settings.max_fallback_rate:.1%}",
            f"look at escalation_reasons in {output}; --fallback-policy warn accepts it",
        )
    return None


def as_text(summary: Mapping[str, Any], *, success: bool) -> str:
    """Lay a summary out in lines, for people."""
    return as_lines(
        {
            "rows": (
                f"{summary['rows_out']:,} from {plural(summary['files'], 'file')}, "
                f"{plural(summary['units'], 'unit')}, {summary['units_computed']} of them computed now"
            ),
            "selected": _selection(summary["selected"]),
            **totals_lines(summary),
            "refused": "; ".join(f"{each['worker']}: {each['why']}" for each in summary["refused_workers"]),
            "time": f"{summary['wall_s']:.1f} s",
            "output": f"{summary['output']} ({'_SUCCESS stands' if success else 'without _SUCCESS'})",
        }
    )


def _selection(selected: Mapping[str, Any] | None) -> str:
    if selected is None:
        return ""
    bounds = [f"{word} {selected[word]}" for word in ("since", "until") if selected[word]]
    return (
        f"{selected['rows_out']:,} rows from {plural(selected['files'], 'file')}, "
        f"{plural(selected['units'], 'unit')}, {' '.join(bounds)}"
    )


def totals_lines(totals: Mapping[str, Any]) -> dict[str, str]:
    """What :func:`totals_of` returns, a line for each figure that people look at."""
    return {
        "routes": _shares(totals["rows_by_route"]),
        "reasons": _shares(totals["rows_by_reason"], totals["rows_out"]),
        "status": _shares(totals["rows_by_status"]),
        "cosine": _mean(totals["cosine"], "rows with a target"),
        "gru - amn": _mean(totals["escalation_gain"], "escalated rows", signed=True),
    }


def _mean_of(sums: Mapping[str, float]) -> dict[str, Any]:
    return {"mean": mean(sums), "n": sums["n"]}


def _bad_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    places = ({"file": record["input"], **bad} for record in records for bad in record["bad_rows"])
    return [place for place, _ in zip(places, range(SHOWN_BAD_ROWS), strict=False)]


def _seconds(records: Iterable[Record]) -> dict[str, float]:
    """Add up the seconds of each part; an adopted unit has none."""
    seconds: dict[str, float] = {}
    for record in records:
        for part, spent in record.get("seconds", {}).items():
            seconds[part] = seconds.get(part, 0.0) + spent
    return {part: round(spent, 3) for part, spent in seconds.items()}


def _first_bad(summary: Mapping[str, Any]) -> str:
    first = summary["bad_rows"][0]
    return f"the first is row {first['row']} of {first['file']}: {first['detail']}"


def _shares(counts: Mapping[str, int], total: int | None = None) -> str:
    total = sum(counts.values()) if total is None else total
    return ", ".join(f"{name} {count:,} ({count / total:.1%})" for name, count in counts.items() if count)


def _mean(figure: Mapping[str, Any], of_what: str, *, signed: bool = False) -> str:
    if figure["mean"] is None:
        return ""
    return f"{figure['mean']:{'+' if signed else ''}.4f} in the mean over {figure['n']:,} {of_what}"
