"""The page that compares two jobs.

The rule: a difference is always the second minus the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.schema import ROUTES
from lvm_batch.jobs.reports.comparison.differences import LEGEND, compare_spreads, compare_values
from lvm_batch.jobs.reports.comparison.values import (
    differing,
    have_same_rows,
    means_of_both,
    models_of,
    settings_of,
    values_of,
)
from lvm_batch.jobs.reports.figures import histograms
from lvm_batch.jobs.reports.groups import everything, groups_by
from lvm_batch.jobs.reports.headline import title_of
from lvm_batch.jobs.reports.page import state_note, warning_boxes
from lvm_batch.jobs.reports.parts import Note, Page, Section, Tile, Tiles, table
from lvm_batch.jobs.reports.rates import shares_of
from lvm_batch.jobs.reports.sections import NO_BANK, NO_TARGETS
from lvm_batch.jobs.reports.text import DASH, cosine, count, duration, moment, rate, setting, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lvm_batch.jobs.prediction.results.totals import Totals
    from lvm_batch.jobs.reports.comparison.values import Pair
    from lvm_batch.jobs.reports.data import ReportData
    from lvm_batch.jobs.reports.groups import Group, Spread
    from lvm_batch.jobs.reports.parts import Part


def comparison_page(pair: Pair) -> Page:
    """Return the comparison of two jobs."""
    names = [_short(data) for data in pair]
    return Page(
        title=f"{names[0]} (A) and {names[1]} (B) compared",
        badges=(),
        subtitle="Every difference is B - A.",
        lead=tuple(_lead(pair)),
        sections=(
            Section("Is B better?", tuple(_cosines(pair))),
            Section("What differs", tuple(_what_differs(pair))),
            Section("Confidence and margin", tuple(_signals(pair))),
            Section("Rows", tuple(_rows(pair))),
            Section("Speed", tuple(_speed(pair))),
        ),
    )


def _short(data: ReportData) -> str:
    return title_of(data.documents).rpartition(" → ")[2]


def _lead(pair: Pair) -> Iterator[Part]:
    for which, data in zip("AB", pair, strict=True):
        state = state_note(data.documents)
        yield Note(f"{which}: {data.documents.text}. {state.text}", grave=state.grave)
        yield from warning_boxes(data.documents)
    yield _tiles(pair)


def _tiles(pair: Pair) -> Tiles:
    first, second = (data.documents.totals for data in pair)
    cosines = [data.columns.floats["cosine"] for data in pair]
    *_, gained = _both(first.cosine.mean, second.cosine.mean)
    rates = [data.rates.rate for data in pair]
    times = f"{rates[1] / rates[0]:.2f} times" if rates[0] and rates[1] else DASH
    return Tiles(
        (
            Tile("Mean cosine", gained, compare_values(*cosines, same_rows=have_same_rows(pair)).text),
            Tile(
                "Escalated to GRU",
                f"{100 * (second.fallback_rate - first.fallback_rate):+.1f} points",
                f"{first.fallback_rate:.1%} to {second.fallback_rate:.1%}",
            ),
            Tile(
                "Bad rows",
                f"{_n_bad(second) - _n_bad(first):+,}",
                f"{_n_bad(first):,} to {_n_bad(second):,}",
            ),
            Tile("Speed", times, " to ".join(map(rate, rates))),
        )
    )


def _n_bad(totals: Totals) -> int:
    return totals.rows_by_status.get("bad_input", 0)


def _what_differs(pair: Pair) -> Iterator[Part]:
    yield table(
        "Settings that differ",
        ("setting", "A", "B"),
        ((name, *map(setting, both)) for name, both in differing(*map(settings_of, pair)).items()),
        n_texts=3,
        empty="All settings are the same.",
    )
    yield table(
        "Models that differ",
        ("model", "A", "B"),
        (
            (name, *(value or DASH for value in both))
            for name, both in differing(*map(models_of, pair)).items()
        ),
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
            empty=f"{caption}: none in either.",
        )


def _cosines(pair: Pair) -> Iterator[Part]:
    values, same_rows = [values_of(data) for data in pair], have_same_rows(pair)
    readings = {
        name: compare_values(*(one[name] for one in values), same_rows=same_rows) for name in values[0]
    }
    yield table(
        "Means over all rows",
        ("", "A", "B", "B - A", "B is"),
        ((name, *_both(*means), readings[name]) for name, means in means_of_both(pair)),
        empty="",
    )
    yield Note(LEGEND)
    yield histograms(
        "cosine", "Cosines.", _by_run(pair, "cosine"), of="cosine with the true next vector", empty=NO_TARGETS
    )
    yield _groups("Mean cosine by split and route", "split", pair, _by_split)
    yield _groups("Mean cosine by lane and route", "lane", pair, _by_lane)


def _groups(caption: str, what: str, pair: Pair, grouped: Callable[[ReportData], list[Group]]) -> Part:
    first, second = ({group.name: group for group in grouped(data)} for data in pair)
    rows = []
    for name in dict.fromkeys((*first, *second)):
        for route in ("all", *ROUTES):
            spreads = [_spread(groups.get(name), route) for groups in (first, second)]
            means = (one and one.mean for one in spreads)
            rows.append((name, route, *_both(*means), compare_spreads(*spreads)))
    known = [row for row in rows if row[2:4] != (DASH, DASH)]
    heads = (what, "route", "A", "B", "B - A", "B is")
    return table(caption, heads, known, n_texts=2, empty=f"No row has a {what}.")


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
        ("most workers", *(count(max((s.workers for s in one.sessions), default=None)) for one in rates)),
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
        empty="No unit has a recorded time.",
    )


def _by_run(pair: Pair, column: str) -> dict[str, NDArray[Any]]:
    return {which: data.columns.floats[column] for which, data in zip("AB", pair, strict=True)}


def _spread(group: Group | None, route: str) -> Spread | None:
    if group is None:
        return None
    return group.spread if route == "all" else group.by_route[route]


def _both(first: float | None, second: float | None) -> tuple[str, str, str]:
    gained = None if first is None or second is None else second - first
    return cosine(first), cosine(second), cosine(gained, signed=True)


def _count(number: int, total: int) -> tuple[str, str]:
    return count(number), share(number, total)


def _seconds(spent: float | None, total_s: float) -> tuple[str, str]:
    return (DASH, DASH) if spent is None else (f"{spent:,.1f} s", share(spent, total_s))
