"""Placeholders in settings, such as ``{date}``, filled in from the time that a run is for.

The rule: only that time decides, so that a run that is retried tomorrow is still yesterday's run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import nearest
from lvm_batch.jobs.settings.times import as_span

if TYPE_CHECKING:
    from datetime import datetime

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


class UnknownPlaceholder(ValueError):
    """Braces hold an unknown name; ``args`` are the text and the nearest known name."""


def fill_in(text: str, time: datetime) -> str:
    """Return ``text`` with its placeholders filled in; ``{{`` and ``}}`` stand for braces.

    Raises :class:`UnknownPlaceholder`.
    """
    return _BRACES.sub(lambda found: _value(found, time), text)


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
