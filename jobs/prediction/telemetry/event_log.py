"""The events of a run as lines of JSON, in the output folder.

The rule: a line is written soon after its event, but never at the price of one write for each unit.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.prediction.observers import RunObserver
from lvm_batch.jobs.prediction.results.events import (
    Event,
    RunEnded,
    RunStarted,
    RunSummarised,
    UnitDone,
    UnitFailed,
    Waiting,
    WorkerRefused,
)

if TYPE_CHECKING:
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.jobs.prediction.observers import RunBeginning

    Logged = RunStarted | UnitDone | UnitFailed | WorkerRefused | RunEnded

_FLUSH_EVERY_S = 5
_BYTES_PER_S = 2**18
"""A store writes a file anew to make it longer: the longer it is, the more rarely."""


class EventLog(RunObserver):
    """Appends events to ``events.jsonl``; whatever the output folder raises ends the run."""

    _folder: OutputFolder

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._flushed = monotonic()
        self._n_bytes = 0

    def begin(self, run: RunBeginning) -> None:
        """Log to the output that the run holds."""
        self._folder = run.folder

    def event(self, event: Event) -> None:
        """Log one event, unless nothing has happened; the summary is a document of its own."""
        if isinstance(event, RunSummarised):
            return
        if not isinstance(event, Waiting):
            now = datetime.now(UTC).isoformat()
            self._lines.append(json.dumps({"at": now, **_described(event)}) + "\n")
        if self._lines and (self._is_time or isinstance(event, (RunStarted, RunEnded))):
            self._flush()

    @property
    def _is_time(self) -> bool:
        return monotonic() - self._flushed > _FLUSH_EVERY_S + self._n_bytes / _BYTES_PER_S

    def _flush(self) -> None:
        lines = "".join(self._lines)
        self._folder.append_events(lines)
        self._n_bytes += len(lines)
        self._lines, self._flushed = [], monotonic()


def _described(event: Logged) -> dict[str, Any]:
    match event:
        case RunStarted():
            return {"event": "run_started"} | {name: getattr(event, name) for name in event.__slots__}
        case UnitDone(record):
            seconds = {} if record.seconds is None else {"seconds": record.seconds}
            fields = {"output": record.output, "rows_in": record.rows_in, "worker": record.worker}
            return {"event": "unit_done", **fields, **seconds}
        case UnitFailed(failure):
            return {"event": "unit_failed", **failure.as_dict}
        case WorkerRefused(refusal):
            return {"event": "worker_refused", **refusal.as_dict}
        case RunEnded(state):
            return {"event": "run_ended", "state": state}
