"""Times and spans of time as people write them, and placeholders such as ``{date}`` in settings.

The rule: a time without an offset is UTC, and nothing here reads the clock. Placeholders follow from the time that a
run is for, so that a run that is retried tomorrow is still yesterday's run.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from lvm_batch.jobs.console.text import nearest

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,6})([mhdw])")

SPAN = r"^\d{1,6}[mhdw]$"
"""The pattern of a span, for settings."""

PLACEHOLDERS = {
    "date": "%Y-%m-%d",
    "date_nodash": "%Y%m%d",
    "year": "%Y",
    "month": "%m",
    "day": "%d",
    "hour": "%H",
}
"""The names allowed in braces and their formats; a span may follow, to add or subtract: ``{date-1d}``."""

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_WRITTEN = re.compile(r"(\w+)(?:([+-])(\d{1,6}[mhdw]))?")


def as_span(text: str) -> timedelta:
    """Parse a span such as 90m, 24h, 7d or 2w. Raises ``ValueError``."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a period of time")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def as_time(written: object) -> datetime:
    """Parse an ISO 8601 text, or take a date or time of TOML; returns UTC.

    Raises ``ValueError``, also for a time before year 1 or after year 9999 in UTC.
    """
    if isinstance(written, datetime):
        found = written
    elif isinstance(written, date):
        found = datetime.combine(written, time())
    elif isinstance(written, str):
        found = datetime.fromisoformat(written.strip())
    else:
        raise ValueError(f"{written!r} is not a time")  # noqa: TRY004 - as pydantic wants it
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{written!r} is outside the range of times") from error


def before(time: datetime, span: str) -> datetime:
    """Subtract a span from a time; raises ``ValueError`` if the result is before year 1."""
    try:
        return time - as_span(span)
    except OverflowError as error:
        raise ValueError(f"there was no time {span} before {time.isoformat()}") from error


class UnknownPlaceholder(ValueError):
    """Braces hold an unknown name; ``args`` are the text and the nearest known name."""


def fill_in(text: str, time: datetime) -> str:
    """Return ``text`` with its placeholders filled in; ``{{`` and ``}}`` stand for braces.

    Raises :class:`UnknownPlaceholder`.
    """
    return _BRACES.sub(lambda found: _value(found, time), text)


def filled(value: object, time: datetime) -> object:
    """Return a value of a setting with the placeholders of its texts filled in; raises as :func:`fill_in` does."""
    if isinstance(value, (list, tuple)):
        return [fill_in(text, time) if isinstance(text, str) else text for text in value]
    return fill_in(value, time) if isinstance(value, str) else value


def _value(found: re.Match[str], time: datetime) -> str:
    if found[1] is None:
        return found[0][0]
    written = _WRITTEN.fullmatch(found[1])
    if written is None or written[1] not in PLACEHOLDERS:
        raise UnknownPlaceholder(found[0], nearest(found[1], PLACEHOLDERS) or "date")
    span = as_span(written[3]) if written[3] else time - time
    try:
        return (time + span if written[2] == "+" else time - span).strftime(PLACEHOLDERS[written[1]])
    except OverflowError as error:
        raise UnknownPlaceholder(found[0], "date") from error
