"""Times and spans of time as people write them.

The rule: a time without an offset is UTC. Nothing here reads the clock.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,6})([mhdw])")

SPAN = r"^\d{1,6}[mhdw]$"
"""The pattern of a span, for settings."""


def as_span(text: str) -> timedelta:
    """Parse a span such as 90m, 24h, 7d or 2w. Raises ``ValueError``."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no span of time")
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
        raise ValueError(f"{written!r} is no time")  # noqa: TRY004 - as pydantic wants it
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{written!r} is out of time") from error


def before(time: datetime, span: str) -> datetime:
    """Subtract a span from a time; raises ``ValueError`` if the result is before year 1."""
    try:
        return time - as_span(span)
    except OverflowError as error:
        raise ValueError(f"there was no time {span} before {time.isoformat()}") from error
