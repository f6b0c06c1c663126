"""Selects past runs by the time that a user gives, and finds those whose clocks must be wrong.

The rule: the present time is an argument; a run belongs to a window by the time it ended.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.monitoring.rule_figures import Window
from lvm_batch.jobs.settings.times import SPAN, as_span, as_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvm_batch.io.history.run_entry import RunEntry

_SKEW = timedelta(minutes=5)  # clocks of two machines differ; a run that ended so much later has just ended


def parse_since(text: str, now: datetime) -> datetime:
    """Return the time that ``text`` means: a span before ``now`` (90m, 24h, 7d, 2w) or an ISO 8601 time, UTC if it has
    no offset. Raises ``UsageError``.
    """
    try:
        since = _since(text.strip(), now)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--since cannot be {text!r}",
            "give a period such as 24h or 7d, or a time such as 2026-11-23T06:00Z",
        ) from error
    if since >= now:
        raise UsageError(f"--since {text} is not in the past", "give a time before now")
    return since


def _since(text: str, now: datetime) -> datetime:
    return now - as_span(text) if re.match(SPAN, text) else as_time(text)


def window_of(runs: Iterable[RunEntry], *, since: datetime, now: datetime) -> tuple[Window, list[str]]:
    """Divide runs into those of the window and those before; return also what is wrong with the clocks of others."""
    complaints, kept = [], []
    for run in sorted(runs, key=lambda run: run.ended):
        if complaint := _wrong_clock(run, now):
            complaints.append(f"left out: the run {run.job_id} of {run.output} {complaint}")
        else:
            kept.append(run)
    return (
        Window(
            since,
            now,
            inside=tuple(run for run in kept if run.ended >= since),
            before=tuple(run for run in kept if run.ended < since),
        ),
        complaints,
    )


def _wrong_clock(run: RunEntry, now: datetime) -> str | None:
    if run.ended < run.started:
        return (
            f"ends ({run.ended:%Y-%m-%d %H:%M:%S} UTC) before it starts ({run.started:%Y-%m-%d %H:%M:%S} UTC)"
        )
    if run.ended > now + _SKEW:
        return f"ends in the future, at {run.ended:%Y-%m-%d %H:%M:%S} UTC"
    return None
