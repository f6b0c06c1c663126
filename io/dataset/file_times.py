"""The time of an input file, and the files of a span of time.

The rule: a file's time is that of its folders (`date=2026-11-22/hour=03`), or else when it was written; a span includes
its start and excludes its end, so that consecutive spans take each file once. All times are UTC. No file is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lvm_batch.io.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.files import InputFile

MODIFIED = "modified"
"""The name of the time at which a file was written, in place of a column of folders."""

_DATES = ("date", "dt", "ds", "datetime")
_PARTS = ("year", "month", "day")


@dataclass(frozen=True, slots=True)
class Span:
    """Times from ``since`` to before ``until``, both UTC; ``None`` is no bound."""

    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, time: datetime) -> bool:
        """Whether a time lies in the span."""
        return (self.since is None or self.since <= time) and (self.until is None or time < self.until)


def files_within(files: Sequence[InputFile], span: Span, *, by: str | None = None) -> list[InputFile]:
    """Return those of ``files`` whose time lies in ``span``, in the same order.

    ``by`` is the column of folders with the time, in any case of letters, or ``modified``. The default is the first
    that any file has: ``date``, ``dt``, ``ds`` or ``datetime``, or ``year`` with ``month`` and ``day``, each perhaps
    with ``hour``; and if no file is in such folders, the time at which it was written. Raises :class:`DataError` for a
    file without a time.
    """
    by = (by or _column(files)).casefold()
    return [file for file in files if _time_of(file, by) in span]


def selection_notices(
    files: Sequence[InputFile], selected: Sequence[InputFile], *, by: str | None = None
) -> Iterator[str]:
    """Yield notes for the user: which time was used if no folder has one, and the times there are if none matches."""
    column = (by or _column(files)).casefold()
    if by is None and column == MODIFIED and files:
        names = ", ".join(f"{name}=" for name in (*_DATES, _PARTS[0]))
        yield f"no file is in a folder of a date ({names}), so files are selected by the time they were last modified"
    if files and not selected:
        times = [_time_of(file, column) for file in files]
        basis = "modification time" if column == MODIFIED else f"the folders {column}="
        yield (
            f"none of the files found ({len(files):,}) is selected: by {basis}, they date from {_shown(min(times))} to "
            f"{_shown(max(times))} UTC"
        )


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def _column(files: Sequence[InputFile]) -> str:
    """Return the first column of times that the folders of any file have; it is used for all files."""
    named = {name.casefold() for file in files for name in file.folders}
    return next((name for name in (*_DATES, _PARTS[0]) if name in named), MODIFIED)


def _time_of(file: InputFile, by: str) -> datetime:
    if by == MODIFIED:
        if file.modified_ns is None:
            raise DataError(f"{file.path} has no modification time", "select by folders: --time-column")
        return datetime.fromtimestamp(file.modified_ns / 1e9, UTC)
    texts = {name.casefold(): text for name, text in file.folders.items()}
    try:
        return _utc(_written(texts, by)) + timedelta(hours=int(texts.get("hour") or 0))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{file.path} is not in a folder {by}=… with a date",
            "move it, give another --time-column, or use modification times: --time-column modified",
        ) from error


def _written(texts: dict[str, str | None], by: str) -> datetime:
    if by == _PARTS[0]:
        whole = {"month": "1", "day": "1"} | texts
        year, month, day = (int(whole[part] or "") for part in _PARTS)
        return datetime(year, month, day, tzinfo=UTC)
    return datetime.fromisoformat(texts[by] or "")


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
