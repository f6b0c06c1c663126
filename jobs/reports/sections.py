"""The sections of a report on rows: routes, cosines, signals, the gain of escalation.

The rule: counts and means of all rows are those of the commit records; distributions, and figures by lane and split,
are of the rows that were looked at, and the report says how many those are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.schema import ROUTES
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.reports.figures import histograms, spreads
from lvm_batch.jobs.reports.groups import N_LANES, everything, groups_by, known, summary_of
from lvm_batch.jobs.reports.parts import Note, Part, Section, Table, table
from lvm_batch.jobs.reports.text import cosine, count, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.jobs.prediction.results.totals import Gain, Totals
    from lvm_batch.jobs.reports.columns import Columns, Labels
    from lvm_batch.jobs.reports.data import ReportData
    from lvm_batch.jobs.reports.groups import Group, Values

_N_DRAWN = 4
NO_TARGETS = "No row has a cosine: the input has no targets."
_GAINS = "GRU's cosine minus AMN's. Shadow rows are chosen at random, escalated rows by the criteria."
NO_BANK = "No row has a {}: the job had no bank."


def rows_section(data: ReportData) -> Section:
    """Rows by route, reason and status."""
    totals = data.documents.totals
    routes, n_rows = totals.rows_by_route, totals.rows_out
    kept = totals.rows_with_reasons - routes.get("gru", 0)
    parts: list[Part] = [
        _counts("Rows by route", routes, sum(routes.values()), empty="No row has a route."),
        _counts(
            "Rows by reason to escalate",
            totals.rows_by_reason,
            n_rows,
            empty="No row has a reason to escalate.",
        ),
        _counts("Rows by status", totals.rows_by_status, n_rows, empty="No row is written yet."),
    ]
    if totals.rows_by_detail:
        parts.append(_counts("Rows by detail of the status", totals.rows_by_detail, n_rows, empty=""))
    if kept > 0:
        parts.append(Note(f"{plural(kept, 'row')} with a reason to escalate kept the route amn."))
    return Section("Rows", tuple(parts))


def cosine_section(data: ReportData) -> Section:
    """Cosines with the true next vectors, by split, lane and route."""
    if not data.documents.totals.cosine.n:
        return Section("Cosine", (Note(NO_TARGETS),))
    return Section("Cosine", tuple(_cosine_parts(data.columns)))


def _cosine_parts(columns: Columns) -> Iterator[Part]:
    by_split, by_lane = groups_by(columns, columns.split), groups_by(columns, columns.lane)
    yield _looked_at(columns)
    yield _group_table("Mean cosine by split and route", "split", [*by_split, everything(columns)])
    if by_lane:
        yield _group_table(
            f"Mean cosine by lane and route, the {N_LANES} largest lanes at most", "lane", by_lane
        )
    yield _cosines("cosine-route", "Cosines by route.", columns, columns.route)
    if columns.split is not None:
        yield _cosines("cosine-split", "Cosines by split.", columns, columns.split)
    if by_lane:
        yield spreads(
            "lanes", "Cosines by lane: the middle 90 % and half of the rows, and their mean.", by_lane
        )
    absent = [
        f"{name}s" for name, labels in (("split", columns.split), ("lane", columns.lane)) if labels is None
    ]
    if absent:
        yield Note(f"The output has no column of {' and none of '.join(absent)}.")


def signals_section(data: ReportData) -> Section:
    """Confidence and margin with their thresholds."""
    settings, totals = data.documents.settings, data.documents.totals
    parts: list[Part] = []
    signals = (
        ("confidence", totals.confidence, settings.min_confidence),
        ("margin", totals.margin, settings.min_margin),
    )
    for signal, mean, threshold in signals:
        parts.append(
            histograms(
                f"signal-{signal}",
                f"{signal.capitalize()}: {cosine(mean.mean)} on average over"
                f" {plural(mean.n, 'row')}. A row left of the threshold has a reason to escalate.",
                {signal: data.columns.floats[signal]},
                of=signal,
                threshold=(f"min_{signal}", threshold),
                empty=NO_BANK.format(signal),
            )
        )
    return Section("Confidence and margin", tuple(parts))


def gain_section(data: ReportData) -> Section:
    """GRU's cosine minus AMN's, if both are known, and what that says."""
    columns = data.columns
    kinds = {"escalated": columns.escalated, "shadow": columns.shadow}
    gains = {kind: columns.gain[rows] for kind, rows in kinds.items()}
    parts: list[Part] = [Note(answer_on_escalation(data.documents.totals))]
    if any(len(known(gain)) for gain in gains.values()):
        empty = "Too few rows have both cosines."
        parts += [
            histograms(
                "gain", _GAINS, gains, of="gru_cosine - amn_cosine", threshold=("even", 0.0), empty=empty
            ),
            table(
                "GRU's cosine minus AMN's",
                ("chosen as", "rows", "mean", "± error", "GRU better"),
                _gain_rows(gains),
                empty=empty,
            ),
        ]
    return Section("Did escalation pay?", tuple(parts))


def answer_on_escalation(totals: Totals) -> str:
    """Answer in a sentence or two whether the fallback's predictions were nearer to the targets."""
    gain, n_escalated = totals.escalation_gain, totals.rows_by_route.get("gru", 0)
    if not n_escalated:
        return "No row was escalated." + _by_chance(totals)
    if gain.mean is None:
        return f"Unknown: none of the {plural(n_escalated, 'escalated row')} has a target."
    figures = f"{cosine(gain.mean, signed=True)}{_error(gain)} over {plural(gain.n, 'row')}"
    if gain.is_loss:
        return f"No. On escalated rows GRU is worse than AMN: {figures}.{_by_chance(totals)}"
    if not gain.is_gain:
        return f"Unknown: on escalated rows GRU and AMN differ by no more than chance: {figures}.{_by_chance(totals)}"
    lifted = f" That lifts the mean cosine of all rows by {gain.mean * gain.n / totals.cosine.n:.4f}."
    return f"Yes. On escalated rows GRU is better than AMN: {figures}.{lifted}{_by_chance(totals)}"


def _by_chance(totals: Totals) -> str:
    """Say what the fallback would gain on rows chosen by chance, if shadow evaluation measured it."""
    gain = totals.shadow_gain
    if gain.mean is None:
        return ""
    figures = f"{cosine(gain.mean, signed=True)}{_error(gain)} over {plural(gain.n, 'row')}"
    return f" On rows chosen at random it is {figures}."


def _error(gain: Gain) -> str:
    return "" if gain.error is None else f" ± {gain.error:.4f}"


def _gain_rows(gains: Mapping[str, Values]) -> Iterator[tuple[str, ...]]:
    for kind, gain in gains.items():
        one = summary_of(gain)
        if one["n"]:
            mean, error = cosine(one["mean"], signed=True), cosine(one["error"])
            yield (kind, count(one["n"]), mean, error, share(one["positive"], 1))


def _counts(caption: str, counts: Mapping[str, int], total: int, *, empty: str) -> Part:
    rows = ((name, count(number), share(number, total)) for name, number in counts.items())
    return table(caption, ("", "rows", "share"), rows, empty=empty)


def _looked_at(columns: Columns) -> Note:
    unread = f" {plural(len(columns.unreadable), 'file')} could not be read." if columns.unreadable else ""
    if columns.n_rows == columns.n_total:
        return Note(
            f"Of all {plural(columns.n_total, 'row')}.{unread} Histograms leave out the outermost 0.1 % at either end."
        )
    return Note(
        f"Of {columns.n_rows:,} of the {plural(columns.n_total, 'row')}, from {columns.n_files:,} of "
        f"{plural(columns.n_total_files, 'file')}, evenly spread.{unread} "
        "Histograms leave out the outermost 0.1 % at either end."
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
    routes = (f"{route} ({part})" for route in ROUTES for part in ("rows", "cosine"))
    heads = (what, "rows", "cosine", "gru - amn", *routes)
    return table(caption, heads, map(_group_row, groups), empty=f"No row has a {what}.")


def _group_row(group: Group) -> tuple[str, ...]:
    spreads_by_route = (group.by_route[route] for route in ROUTES)
    routes = [text for one in spreads_by_route for text in (count(one.n_rows), cosine(one.mean))]
    return (group.name, count(group.rows), cosine(group.cosine), cosine(group.gain, signed=True), *routes)
