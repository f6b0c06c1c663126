"""Compares two outputs: their settings, their models and their results.

The rule: a difference is always the second minus the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.unit_files import PRIVATE
from lvm_batch.io.schema import ROUTES
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.reports.data import gather
from lvm_batch.jobs.reports.figures import histograms
from lvm_batch.jobs.reports.groups import everything, groups_by
from lvm_batch.jobs.reports.page import state_note, warning_boxes
from lvm_batch.jobs.reports.parts import Note, Page, Section, render, table
from lvm_batch.jobs.reports.rates import shares_of
from lvm_batch.jobs.reports.report import check_page, write_page
from lvm_batch.jobs.reports.sections import NO_BANK, NO_TARGETS
from lvm_batch.jobs.reports.text import DASH, cosine, count, duration, moment, rate, setting, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from lvm_batch.jobs.prediction.results.totals import Totals
    from lvm_batch.jobs.reports.data import ReportData
    from lvm_batch.jobs.reports.groups import Group
    from lvm_batch.jobs.reports.parts import Part

    Pair = tuple[ReportData, ReportData]


def compare(first: str, second: str, *, file: str | None = None) -> tuple[dict[str, Any], str]:
    """Write what differs between the jobs in two outputs; return values and text.

    Without ``file`` the page lies beside the report of the first output, by the id of the second job. Raises as
    :func:`lvm_batch.jobs.reports.report.report` does.
    """
    check_page(file, first, second)
    pair = gather(OutputFolder(locate(first).text)), gather(OutputFolder(locate(second).text))
    place = write_page(render(_page(pair)), file or _beside_report(first, pair[1].documents.job.job_id))
    settings, models = differing(*map(_settings, pair)), differing(*map(_models, pair))
    values = {
        "outputs": [first, second],
        "states": [data.documents.state for data in pair],
        "settings_differ": sorted(settings),
        "models_differ": sorted(models),
        "means": {name: list(means) for name, means in _means_of_both(pair)},
        "fallback_rates": [data.documents.totals.fallback_rate for data in pair],
        "rows_per_s": [data.rates.rate for data in pair],
        "comparison": place,
    }
    return values, f"compared  {place}"


def _beside_report(output: str, other_id: str) -> str:
    return locate(output).child(f"{PRIVATE}/comparison-{quote(other_id, safe='')}.html").text


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values that differ, by name; a missing value is ``None``."""
    return {
        name: (first.get(name), second.get(name))
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name)
    }


def _page(pair: Pair) -> Page:
    names = [data.documents.job.job_id for data in pair]
    return Page(
        title=f"lvm-batch runs {names[0]} and {names[1]}",
        lead=tuple(_lead(pair)),
        sections=(
            Section("What differs", tuple(_what_differs(pair))),
            Section("Rows", tuple(_rows(pair))),
            Section("Cosine", tuple(_cosines(pair))),
            Section("Confidence and margin", tuple(_signals(pair))),
            Section("Speed", tuple(_speed(pair))),
        ),
    )


def _lead(pair: Pair) -> Iterator[Part]:
    for which, data in zip("AB", pair, strict=True):
        state = state_note(data.documents)
        yield Note(f"{which}: {data.documents.text}. {state.text}", grave=state.grave)
        yield from warning_boxes(data.documents)


def _what_differs(pair: Pair) -> Iterator[Part]:
    yield table(
        "Settings that differ",
        ("setting", "A", "B"),
        ((name, *map(setting, both)) for name, both in differing(*map(_settings, pair)).items()),
        n_texts=3,
        empty="All settings are the same.",
    )
    yield table(
        "Models that differ",
        ("model", "A", "B"),
        ((name, *(value or DASH for value in both)) for name, both in differing(*map(_models, pair)).items()),
        n_texts=3,
        empty="Models and bank are the same.",
    )
    versions = [data.documents.job.version for data in pair]
    if versions[0] != versions[1]:
        yield Note(f"A was written by lvm-batch {versions[0]}, B by {versions[1]}.")


def _rows(pair: Pair) -> Iterator[Part]:
    totals = [data.documents.totals for data in pair]
    for caption, counts in (
        ("Rows by route", [one.rows_by_route for one in totals]),
        ("Rows by reason to escalate", [one.rows_by_reason for one in totals]),
        ("Rows by status", [one.rows_by_status for one in totals]),
        ("Rows by detail", [one.rows_by_detail for one in totals]),
    ):
        names = dict.fromkeys(name for one in counts for name in one)
        both = list(zip(counts, (one.rows_out for one in totals), strict=True))
        yield table(
            caption,
            ("", "A", "share", "B", "share"),
            (
                (name, *(text for one, n_rows in both for text in _count(one.get(name, 0), n_rows)))
                for name in names
            ),
            empty=f"{caption}: neither has any.",
        )


def _cosines(pair: Pair) -> Iterator[Part]:
    yield table(
        "Means over all rows",
        ("", "A", "B", "B - A"),
        ((name, *_both(*means)) for name, means in _means_of_both(pair)),
        empty="",
    )
    yield histograms(
        "cosine", "Cosines.", _by_run(pair, "cosine"), of="cosine with the true next vector", empty=NO_TARGETS
    )
    yield _groups("Mean cosine by split and route", "split", pair, _by_split)
    yield _groups("Mean cosine by lane and route", "lane", pair, _by_lane)


def _groups(caption: str, what: str, pair: Pair, grouped: Callable[[ReportData], list[Group]]) -> Part:
    first, second = ({group.name: group for group in grouped(data)} for data in pair)
    rows = [
        (name, route, *_both(_mean(first.get(name), route), _mean(second.get(name), route)))
        for name in dict.fromkeys((*first, *second))
        for route in ("all", *ROUTES)
    ]
    known = [row for row in rows if row[2:4] != (DASH, DASH)]
    return table(caption, (what, "route", "A", "B", "B - A"), known, n_texts=2, empty=f"No row has a {what}.")


def _by_split(data: ReportData) -> list[Group]:
    return [*groups_by(data.columns, data.columns.split), everything(data.columns)]


def _by_lane(data: ReportData) -> list[Group]:
    return groups_by(data.columns, data.columns.lane)


def _signals(pair: Pair) -> Iterator[Part]:
    for signal in ("confidence", "margin"):
        yield histograms(
            f"signal-{signal}",
            f"{signal.capitalize()}.",
            _by_run(pair, signal),
            of=signal,
            empty=NO_BANK.format(signal),
        )


def _speed(pair: Pair) -> Iterator[Part]:
    rates = [data.rates for data in pair]
    started = [moment(one.sessions[0].started) if one.sessions else DASH for one in rates]
    rows = [
        ("started", *started),
        ("time at work", *(duration(one.wall_s) for one in rates)),
        ("rate", *(rate(one.rate) for one in rates)),
        ("workers at most", *(count(max((s.workers for s in one.sessions), default=None)) for one in rates)),
        ("workers busy", *(DASH if one.busy is None else f"{one.busy:.0%}" for one in rates)),
    ]
    yield table("Runs", ("", "A", "B"), rows, empty="")
    seconds = [{part: spent for _, part, spent in shares_of(data.documents.totals.seconds)} for data in pair]
    yield table(
        "Busy time of all units",
        ("part", "A", "share", "B", "share"),
        (
            (part, *(text for one in seconds for text in _seconds(one.get(part), sum(one.values()))))
            for part in dict.fromkeys(part for one in seconds for part in one)
        ),
        empty="No unit tells how long it took.",
    )


def _by_run(pair: Pair, column: str) -> dict[str, NDArray[Any]]:
    return {which: data.columns.floats[column] for which, data in zip("AB", pair, strict=True)}


def _settings(data: ReportData) -> dict[str, Any]:
    return data.documents.settings.model_dump()


def _models(data: ReportData) -> dict[str, str]:
    return {role: f"{architecture} {path} {digest}" for role, architecture, path, digest in data.models}


def _means_of_both(pair: Pair) -> list[tuple[str, tuple[float | None, float | None]]]:
    first, second = (_means(data.documents.totals) for data in pair)
    return [(name, (mean, second[name])) for name, mean in first.items()]


def _means(totals: Totals) -> dict[str, float | None]:
    return {
        "cosine": totals.cosine.mean,
        "amn_cosine": totals.amn_cosine.mean,
        "gru_cosine": totals.gru_cosine.mean,
        "escalation_gain": totals.escalation_gain.mean,
        "shadow_gain": totals.shadow_gain.mean,
        "confidence": totals.confidence.mean,
        "margin": totals.margin.mean,
    }


def _mean(group: Group | None, route: str) -> float | None:
    if group is None:
        return None
    return group.cosine if route == "all" else group.by_route[route][0]


def _both(first: float | None, second: float | None) -> tuple[str, str, str]:
    gained = None if first is None or second is None else second - first
    return cosine(first), cosine(second), cosine(gained, signed=True)


def _count(number: int, total: int) -> tuple[str, str]:
    return count(number), share(number, total)


def _seconds(spent: float | None, total_s: float) -> tuple[str, str]:
    return (DASH, DASH) if spent is None else (f"{spent:,.1f} s", share(spent, total_s))
