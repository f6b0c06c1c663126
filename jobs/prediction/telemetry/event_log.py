"""The events of a run as lines of JSON, in the output folder.

The rule: a line is written soon after its event, but never at the price of one write for each unit.
"""

from __future__ import annotations

import json
from time import monotonic
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.prediction.execution.events import (
    Event,
    RunEnded,
    RunStarted,
    UnitDone,
    UnitFailed,
    Waiting,
    WorkerRefused,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from lvm_batch.io.output.commit import OutputFolder

    Happened = RunStarted | UnitDone | UnitFailed | WorkerRefused | RunEnded

_FLUSH_EVERY_S = 5
_BYTES_PER_S = 2**18
"""A store writes a file anew to make it longer: the longer it is, the more rarely."""


class EventLog:
    """Appends events to ``events.jsonl``; ``now`` gives the time to be written beside each."""

    def __init__(self, folder: OutputFolder, now: Callable[[], datetime]) -> None:
        self._folder = folder
        self._now = now
        self._lines: list[str] = []
        self._flushed = monotonic()
        self._n_bytes = 0

    def __call__(self, event: Event) -> None:
        """Take down one event, unless nothing has happened."""
        if not isinstance(event, Waiting):
            self._lines.append(json.dumps({"at": self._now().isoformat(), **_described(event)}) + "\n")
        is_time = monotonic() - self._flushed > _FLUSH_EVERY_S + self._n_bytes / _BYTES_PER_S
        if self._lines and (is_time or isinstance(event, (RunStarted, RunEnded))):
            lines = "".join(self._lines)
            self._folder.append_events(lines)
            self._n_bytes += len(lines)
            self._lines, self._flushed = [], monotonic()


def _described(event: Happened) -> dict[str, Any]:
    match event:
        case RunStarted():
            return {"event": "run_started"} | {name: getattr(event, name) for name in event.__slots__}
        case UnitDone(record):
            seconds = {} if record.seconds is None else {"seconds": record.seconds}
            told = {"output": record.output, "rows_in": record.rows_in, "worker": record.worker}
            return {"event": "unit_done", **told, **seconds}
        case UnitFailed(failure):
            return {"event": "unit_failed", **failure.as_dict}
        case WorkerRefused(refusal):
            return {"event": "worker_refused", **refusal.as_dict}
        case RunEnded(state):
            return {"event": "run_ended", "state": state}
