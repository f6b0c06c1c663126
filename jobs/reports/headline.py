"""The head of a report: what ran, how it ended, and the figures that a reader wants first.

The rule: all of it follows from commit records and documents, never from a sample of the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.schema import OK, STATUSES
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.reports.parts import Badge, Bar, Segment, Tile, Tiles
from lvm_batch.jobs.reports.text import cosine, count, duration, moment, rate, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.prediction.results.totals import Totals
    from lvm_batch.jobs.reports.data import ReportData
    from lvm_batch.jobs.reports.documents import Documents

_N_NAMED = 2
_COLOURS = {"amn": "series-0", "gru": "series-1", "short_context": "muted", "bad_input": "grave"}


def title_of(documents: Documents) -> str:
    """Return the names of the dataset and of the output, each without the folders above it."""
    asked = documents.job.settings.get("dataset") or list(documents.job.identity.inputs)
    paths = [asked] if isinstance(asked, str) else [str(path) for path in asked]
    named = ", ".join(map(_last_part, paths[:_N_NAMED]))
    more = f" and {len(paths) - _N_NAMED:,} more" if len(paths) > _N_NAMED else ""
    return f"{named}{more} → {_last_part(documents.text)}"


def subtitle_of(data: ReportData) -> str:
    """Return in a line when the job ran, for how long, how fast, and by which version."""
    sessions, rates = data.rates.sessions, data.rates
    version = f"lvm-batch {data.documents.job.version}"
    if not sessions:
        return f"No unit is done yet. {version}"
    when = moment(sessions[-1].ended)
    runs = f" in {plural(len(sessions), 'run')}" if len(sessions) > 1 else ""
    return f"{when} · {duration(rates.wall_s)}{runs} · {rate(rates.rate)} · {version}"


def badges_of(documents: Documents) -> Iterator[Badge]:
    """Yield the state of the job, and the number of its warnings."""
    n_warnings = len(documents.warnings)
    match documents.state:
        case "done":
            yield Badge("Done", "good")
        case "running":
            yield Badge("Running", "busy")
        case "incomplete" | "not finished":
            yield Badge("Failed" if documents.failed_units else "Not finished", "bad")
        case _:
            yield Badge("Failed", "bad")
    if n_warnings:
        yield Badge(plural(n_warnings, "warning"), "warn")


def tiles_of(data: ReportData) -> Tiles:
    """Return rows, mean cosine, share escalated with its budget, and bad rows with their limit."""
    documents = data.documents
    return Tiles((_rows(documents), _cosine(documents.totals), _escalated(documents), _bad(documents)))


def _rows(documents: Documents) -> Tile:
    n_rows, n_all = documents.totals.rows_out, documents.n_rows
    units = plural(documents.n_units, "unit")
    detail = f"all of them, in {units}" if n_rows == n_all else f"of {n_all:,}, {share(n_rows, n_all)}"
    return Tile("Rows", count(n_rows), detail, "" if n_rows == n_all else "bad")


def _cosine(totals: Totals) -> Tile:
    if totals.cosine.mean is None:
        return Tile("Mean cosine", "unknown", "the input has no targets")
    gain = totals.context_gain.mean
    against = "" if gain is None else f", {cosine(gain, signed=True)} against the context's mean"
    worse = gain is not None and gain < 0
    return Tile(
        "Mean cosine",
        cosine(totals.cosine.mean),
        f"over {plural(totals.cosine.n, 'row')}{against}",
        "bad" if worse else "",
    )


def _escalated(documents: Documents) -> Tile:
    escalated, budget = documents.totals.fallback_rate, documents.settings.max_fallback_rate
    over = escalated > budget
    detail = f"{'over' if over else 'within'} the budget of {budget:.0%}"
    return Tile("Escalated to GRU", f"{escalated:.1%}", detail, "bad" if over else "")


def _bad(documents: Documents) -> Tile:
    n_bad, limit = documents.totals.rows_by_status.get("bad_input", 0), documents.settings.max_bad_rows
    fraction = documents.totals.bad_row_rate
    detail = f"{share(n_bad, documents.totals.rows_in)} of the rows, the limit is {limit:.0%}"
    return Tile("Bad rows", count(n_bad), detail, "bad" if fraction > limit else "")


def routes_bar(totals: Totals) -> Bar:
    """Return the routes of the rows, and the rows without a prediction, as parts of a whole."""
    without = {status: n for status, n in totals.rows_by_status.items() if status != STATUSES[OK]}
    counts = {name: n for name, n in (totals.rows_by_route | without).items() if n}
    return Bar(
        "Which model each row's prediction came from",
        tuple(
            Segment(name, n / totals.rows_out, f"{n:,} ({share(n, totals.rows_out)})", _COLOURS[name])
            for name, n in counts.items()
        ),
    )


def _last_part(path: str) -> str:
    """Return what follows the last slash of a path or URL; a glob keeps the folder before it."""
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    n_kept = 2 if parts and "*" in parts[-1] else 1
    return "/".join(parts[-n_kept:]) or path
