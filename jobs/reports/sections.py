"""What a report says of one job: rows, cosines, signals, gain, speed, and what went wrong.

The rule: counts and means of all rows are those of the commit records; distributions, and figures by lane and split,
are of the rows that were looked at, and the report says how many those are. This module does not know how a page looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.predictions import ROUTES
from lvm_batch.jobs.reports.figures import histograms, rate_over_time, shares, spreads
from lvm_batch.jobs.reports.groups import everything, groups_by, summary_of
from lvm_batch.jobs.reports.parts import Folded, Note, Part, Section, Table, table
from lvm_batch.jobs.reports.rates import shares_of
from lvm_batch.jobs.reports.text import DASH, cosine, count, duration, moment, plural, rate, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.jobs.reports.columns import Columns, Labels
    from lvm_batch.jobs.reports.data import Reported
    from lvm_batch.jobs.reports.groups import Group

N_SHOWN = 20
_N_DRAWN = 4
NO_TARGETS = "No row has a cosine: the input has no targets."
NO_BANK = "No row has a {}: the job had no bank that gives one."


def rows_section(told: Reported) -> Section:
    """Rows by route, reason and status."""
    totals = told.documents.totals
    routes, n_rows = totals["rows_by_route"], totals["rows_out"]
    kept = totals["rows_with_reasons"] - routes.get("gru", 0)
    parts: list[Part] = [
        _counts("Rows by route", routes, sum(routes.values()), empty="No row has a route."),
        _counts(
            "Rows by reason to escalate", totals["rows_by_reason"], n_rows, empty="No reasons are counted."
        ),
        _counts("Rows by status", totals["rows_by_status"], n_rows, empty="No row is written yet."),
        _counts("Rows by detail", totals["rows_by_detail"], n_rows, empty="No row has a status detail."),
    ]
    if kept > 0:
        parts.append(Note(f"{plural(kept, 'row')} with a reason to escalate kept the route amn."))
    return Section("Rows", tuple(parts))


def cosine_section(told: Reported) -> Section:
    """Cosines with the true next vectors, by split, lane and route."""
    if not told.documents.totals["cosine"]["n"]:
        return Section("Cosine", (Note(NO_TARGETS),))
    return Section("Cosine", tuple(_cosine_parts(told.columns)))


def _cosine_parts(columns: Columns) -> Iterator[Part]:
    by_split, by_lane = groups_by(columns, columns.split), groups_by(columns, columns.lane)
    yield _looked_at(columns)
    yield _group_table("Mean cosine by split and route", "split", [*by_split, everything(columns)])
    yield _cosines("cosine-route", "Cosines by route.", columns, columns.route)
    if columns.split is None:
        yield Note("The output has no column of splits.")
    else:
        yield _cosines("cosine-split", "Cosines by split.", columns, columns.split)
    if columns.lane is None:
        yield Note("The output has no column of lanes.")
        return
    yield _group_table(f"Mean cosine by lane and route, the {N_SHOWN} largest lanes at most", "lane", by_lane)
    yield spreads("lanes", "Cosines by lane: the middle 90 % and half of the rows, and their mean.", by_lane)


def signals_section(told: Reported) -> Section:
    """Confidence and margin with their thresholds."""
    settings, totals = told.documents.settings, told.documents.totals
    parts: list[Part] = []
    thresholds = {"confidence": settings.min_confidence, "margin": settings.min_margin}
    for signal, threshold in thresholds.items():
        parts.append(
            histograms(
                f"signal-{signal}",
                f"{signal.capitalize()}: {cosine(totals[signal]['mean'])} in the mean over"
                f" {plural(totals[signal]['n'], 'row')}. A row left of the threshold has a reason to escalate.",
                {signal: told.columns.floats[signal]},
                of=signal,
                threshold=(f"min_{signal}", threshold),
                empty=NO_BANK.format(signal),
            )
        )
    return Section("Confidence and margin", tuple(parts))


def gain_section(told: Reported) -> Section:
    """What GRU's cosine has over AMN's, where both are known."""
    columns = told.columns
    kinds = {"escalated": columns.escalated, "shadow": columns.shadow}
    gains = {kind: columns.gain[rows] for kind, rows in kinds.items()}
    found = {kind: summary_of(gain) for kind, gain in gains.items()}
    empty = "No row has both cosines: none was escalated or chosen for shadow evaluation, or there are no targets."
    return Section(
        "What escalation gained",
        (
            table(
                "GRU's cosine less AMN's",
                ("chosen as", "rows", "mean", "standard error", "GRU better"),
                (
                    (
                        kind,
                        count(one["n"]),
                        cosine(one["mean"], signed=True),
                        cosine(one["error"]),
                        share(one["positive"], 1),
                    )
                    for kind, one in found.items()
                    if one["n"]
                ),
                empty=empty,
            ),
            *(
                [
                    histograms(
                        "gain",
                        "GRU's cosine less AMN's. Shadow rows are chosen by chance, escalated ones by the thresholds.",
                        gains,
                        of="gru_cosine - amn_cosine",
                        threshold=("even", 0.0),
                        empty=empty,
                    )
                ]
                if any(one["n"] for one in found.values())
                else []
            ),
        ),
    )


def speed_section(told: Reported) -> Section:
    """Rate over time and per worker, and what the time was spent on."""
    return Section("Speed", tuple(_speed_parts(told)))


def _speed_parts(told: Reported) -> Iterator[Part]:
    rates, documents = told.rates, told.documents
    if documents.n_lost_events:
        yield Note(
            f"{plural(documents.n_lost_events, 'line')} of events.jsonl cannot be read and is left out."
        )
    parts = shares_of(documents.totals["seconds"])
    yield rate_over_time(
        "Rows a second while runs were at work; each unit's rows over the time it took.", rates
    )
    yield shares("Share of the busy time: reading, computing, writing.", parts)
    wholes: dict[str, float] = {}
    for whole, _, seconds in parts:
        wholes[whole] = wholes.get(whole, 0.0) + seconds
    total_s = sum(wholes.values())
    yield table(
        "Busy time of all units",
        ("part", "seconds", "share"),
        ((whole, f"{seconds:,.1f}", share(seconds, total_s)) for whole, seconds in wholes.items()),
        empty="No unit tells how long it took.",
    )
    if rates.busy is not None:
        yield Note(f"Workers were at work on units for {rates.busy:.0%} of the time that runs gave them.")
    slowest = sorted(rates.workers, key=lambda worker: (worker.rate or 0.0, worker.name))
    yield table(
        f"Workers, slowest first ({min(len(slowest), N_SHOWN):,} of {len(slowest):,})",
        ("worker", "units", "rows", "busy", "rows/s while busy"),
        (
            (one.name, count(one.units), count(one.rows), duration(one.busy_s), rate(one.rate))
            for one in slowest[:N_SHOWN]
        ),
        empty=_without_workers(told),
    )
    yield table(
        f"Runs, the last {N_SHOWN} that computed units",
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
            for one in rates.sessions[-N_SHOWN:]
        ),
        empty="No run has finished a unit yet.",
    )


def _without_workers(told: Reported) -> str:
    seconds = sum(told.documents.totals["seconds"].values())
    mean = told.rates.rows / seconds if seconds else None
    return f"The events do not name workers. A worker did {rate(mean)} in the mean while busy."


def faults_section(told: Reported) -> Section:
    """Bad rows with their places, units that failed, files left out, notices."""
    documents = told.documents
    parts: list[Part] = [_bad_rows(documents.totals), *_failed(told)]
    if documents.summary is None:
        parts.append(Note("Notices and criteria are known once a run has come to its end."))
        return Section("What to look at", tuple(parts))
    summary = documents.summary
    parts.append(
        table(
            "Files left out because they cannot be read",
            ("file", "why"),
            ((one.path, one.message) for one in summary.unreadable_files[:N_SHOWN]),
            n_texts=2,
            empty="No file was left out.",
        )
    )
    parts.append(
        table(
            "Criteria that could not be evaluated",
            ("criterion", "why"),
            summary.criteria_not_evaluated.items(),
            n_texts=2,
            empty="Every criterion could be evaluated.",
        )
    )
    parts.extend(Note(f"Notice: {notice}") for notice in summary.notices[:N_SHOWN])
    if not summary.notices:
        parts.append(Note("The run had no notices."))
    return Section("What to look at", tuple(parts))


def _bad_rows(totals: Mapping[str, Any]) -> Part:
    n_bad, places = totals["rows_by_status"].get("bad_input", 0), totals["bad_rows"]
    return table(
        f"Bad rows, the first {len(places):,} of {n_bad:,}",
        ("row", "detail", "file"),
        (
            (str(bad.get("row", DASH)), str(bad.get("detail", DASH)), str(bad.get("file", DASH)))
            for bad in places
        ),
        n_texts=3,
        empty="No row is bad." if not n_bad else f"{n_bad:,} rows are bad, and no record names their places.",
    )


def _failed(told: Reported) -> Iterator[Part]:
    failed = told.documents.failed_units
    yield table(
        f"Units that failed ({len(failed):,})",
        ("unit", "why", "what to do"),
        ((one.output, one.message, one.hint or DASH) for one in failed[:N_SHOWN]),
        n_texts=3,
        empty="No unit failed.",
    )
    for one in failed[:N_SHOWN]:
        if one.trace:
            yield Folded(f"Traceback of {one.output}", one.trace)


def _counts(caption: str, counts: Mapping[str, int], total: int, *, empty: str) -> Part:
    rows = ((name, count(number), share(number, total)) for name, number in counts.items())
    return table(caption, ("", "rows", "share"), rows, empty=empty)


def _looked_at(columns: Columns) -> Note:
    unread = f" {plural(len(columns.unreadable), 'file')} could not be read." if columns.unreadable else ""
    if columns.n_rows == columns.n_total:
        return Note(
            f"Of all {columns.n_total:,} rows.{unread} Histograms leave out the outermost 0.1 % at either end."
        )
    return Note(
        f"Of {columns.n_rows:,} of the {columns.n_total:,} rows, from {columns.n_files:,} of {columns.n_total_files:,}"
        f" files, evenly spread.{unread} Histograms leave out the outermost 0.1 % at either end."
    )


def _cosines(name: str, caption: str, columns: Columns, labels: Labels) -> Part:
    """Draw the cosines of the few largest groups."""
    largest = [group.name for group in groups_by(columns, labels)][:_N_DRAWN]
    values = {
        label: columns.floats["cosine"][labels.codes == code]
        for code, label in enumerate(labels.names)
        if label in largest
    }
    return histograms(name, caption, values, of="cosine with the true next vector", empty=NO_TARGETS)


def _group_table(caption: str, what: str, groups: list[Group]) -> Table | Note:
    heads = (
        what,
        "rows",
        "cosine",
        *(f"{route} ({part})" for route in ROUTES for part in ("rows", "cosine")),
    )
    return table(caption, (*heads, "gru - amn"), map(_group_row, groups), empty=f"No row has a {what}.")


def _group_row(group: Group) -> tuple[str, ...]:
    routes = [
        text
        for mean, n_rows in (group.by_route[route] for route in ROUTES)
        for text in (count(n_rows), cosine(mean))
    ]
    return (group.name, count(group.rows), cosine(group.cosine), *routes, cosine(group.gain, signed=True))
