"""How figures are written in reports.

The rule: an unknown figure is a dash.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

DASH = "-"


def count(value: int | None) -> str:
    """A whole number, with commas."""
    return DASH if value is None else f"{value:,}"


def cosine(value: float | None, *, signed: bool = False) -> str:
    """A cosine, a margin or a difference of cosines."""
    return DASH if value is None else f"{value:{'+' if signed else ''}.4f}"


def share(value: float, total: float) -> str:
    """A part of a whole, in percent."""
    return f"{value / total:.1%}" if total else DASH


def rate(value: float | None) -> str:
    """Rows a second."""
    return DASH if value is None else f"{value:,.0f} rows/s"


def duration(seconds: float) -> str:
    """Seconds, or hours, minutes and seconds where there are many."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min {rest:02} s" if hours else f"{minutes} min {rest:02} s"


def moment(at: datetime) -> str:
    """A moment, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def setting(value: Any) -> str:  # noqa: ANN401 - whatever a setting holds
    """A setting's value."""
    if value is None or value == []:
        return "(none)"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
