"""The sections of a report on the work: its speed, its parts, and its failures.

The rule: figures are those of the commit records and of events; long lists are cut, and say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.reports.figures import rate_over_time, shares
from lvm_batch.jobs.reports.parts import Checks, FoldedText, Note, Part, Section, table
from lvm_batch.jobs.reports.rates import shares_of
from lvm_batch.jobs.reports.text import DASH, count, duration, moment, rate, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.jobs.prediction.results.totals import Totals
    from lvm_batch.jobs.reports.data import ReportData
    from lvm_batch.jobs.reports.rates import Session

_N_SHOWN = 20


def speed_section(data: ReportData) -> Section:
    """Rate over time and per worker, and what the time was spent on."""
    return Section("Speed", tuple(_speed_parts(data)))


def _speed_parts(data: ReportData) -> Iterator[Part]:
    rates, documents = data.rates, data.documents
    if documents.n_lost_events:
        lost = plural(documents.n_lost_events, "line")
        yield Note(f"{lost} of events.jsonl cannot be read and is left out.")
    parts = shares_of(documents.totals.seconds)
    yield rate_over_time(
        "Rows a second while runs were at work; each unit's rows over the time it took.", rates
    )
    yield shares("Share of the busy time: reading, computing, writing.", parts)
    if rates.busy is not None:
        yield Note(f"Workers were at work on units for {rates.busy:.0%} of the time that runs gave them.")
    yield _runs(rates.sessions)
    yield _workers(data)
    yield _busy_time(parts)


def _busy_time(parts: Sequence[tuple[str, str, float]]) -> Part:
    wholes: dict[str, float] = {}
    for whole, _, seconds in parts:
        wholes[whole] = wholes.get(whole, 0.0) + seconds
    total_s = sum(wholes.values())
    return table(
        "Busy time of all units",
        ("part", "seconds", "share"),
        ((whole, f"{seconds:,.1f}", share(seconds, total_s)) for whole, seconds in wholes.items()),
        empty="No unit has a recorded time.",
    )


def _workers(data: ReportData) -> Part:
    slowest = sorted(data.rates.workers, key=lambda worker: (worker.rate or 0.0, worker.name))
    return table(
        f"Workers, slowest first ({min(len(slowest), _N_SHOWN):,} of {len(slowest):,})",
        ("worker", "units", "rows", "busy", "rows/s while busy"),
        (
            (one.name, count(one.units), count(one.rows), duration(one.busy_s), rate(one.rate))
            for one in slowest[:_N_SHOWN]
        ),
        empty=_without_workers(data),
    )


def _runs(sessions: Sequence[Session]) -> Part:
    return table(
        f"Runs, the last {_N_SHOWN} that computed units",
        ("started", "took", "workers", "units", "rows", "rate", "ended"),
        (
            (
                moment(one.started),
                duration(one.wall_s),
                count(one.workers),
                count(len(one.done)),
                count(one.rows),
                rate(one.rows / one.wall_s if one.wall_s else None),
                one.state,
            )
            for one in sessions[-_N_SHOWN:]
        ),
        empty="No run has finished a unit yet.",
    )


def _without_workers(data: ReportData) -> str:
    seconds = sum(data.documents.totals.seconds.values())
    mean = data.rates.rows / seconds if seconds else None
    return f"The events do not name workers. A busy worker computed {rate(mean)} on average."


def faults_section(data: ReportData) -> Section:
    """What is in order in one line; then bad rows with their places, failed units, files left out, notices."""
    findings = list(_findings(data))
    in_order = tuple(part.text for part in findings if isinstance(part, Note) and not part.grave)
    others = tuple(part for part in findings if not isinstance(part, Note) or part.grave)
    notices = data.documents.summary.notices if data.documents.summary else ()
    said = tuple(Note(f"Note of the run: {notice}") for notice in notices[:_N_SHOWN])
    return Section("Is anything wrong?", (*((Checks(in_order),) if in_order else ()), *others, *said))


def _findings(data: ReportData) -> Iterator[Part]:
    """Yield the result of each check: a plain note says that it is in order, all else that it is not."""
    documents, summary = data.documents, data.documents.summary
    yield _bad_rows(documents.totals)
    yield from _failed(data)
    if summary is None:
        yield Note("Notices and criteria are known once a run has ended.", grave=True)
        return
    yield table(
        "Files left out because they cannot be read",
        ("file", "why"),
        ((one.path, one.message) for one in summary.unreadable_files[:_N_SHOWN]),
        n_texts=2,
        empty="No file was left out.",
    )
    yield table(
        "Criteria that could not be evaluated: no row is escalated for them",
        ("criterion", "why"),
        summary.criteria_not_evaluated.items(),
        n_texts=2,
        empty="Every criterion could be evaluated.",
    )


def _bad_rows(totals: Totals) -> Part:
    n_bad, places = totals.rows_by_status.get("bad_input", 0), totals.bad_rows
    if n_bad and not places:
        return Note(f"{plural(n_bad, 'row', ('is', 'are'))} bad, but no record has their places.", grave=True)
    return table(
        f"Bad rows, the first {len(places):,} of {n_bad:,}",
        ("row", "detail", "file"),
        ((str(bad.row), bad.detail, bad.file) for bad in places),
        n_texts=3,
        empty="No row is bad.",
    )


def _failed(data: ReportData) -> Iterator[Part]:
    failed = data.documents.failed_units
    yield table(
        f"Units that failed ({len(failed):,})",
        ("unit", "why", "what to do"),
        ((one.output, one.message, one.hint or DASH) for one in failed[:_N_SHOWN]),
        n_texts=3,
        empty="No unit failed.",
    )
    for one in failed[:_N_SHOWN]:
        if one.trace:
            yield FoldedText(f"Traceback of {one.output}", one.trace)
