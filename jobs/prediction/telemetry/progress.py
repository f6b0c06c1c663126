"""The progress of a run on stderr: a bar on a terminal, a line every half minute elsewhere, records in a log of JSON.

The rule: progress ends with the work; later messages have lines of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.count import Count
from lvm_batch.jobs.console.progress import LINE_EVERY_S, Pause, Progress
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.prediction.observers import RunObserver
from lvm_batch.jobs.prediction.results.events import Event, RunEnded, RunStarted, UnitDone, UnitFailed

if TYPE_CHECKING:
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.prediction.execution.worker import Failure

_LOGGED_FAILURES = 100


def progress_on(console: Console) -> RunObserver:
    """Return the observer for ``console``: records in a log of JSON, a bar on a terminal, lines elsewhere."""
    return ProgressRecords(console) if console.log else ShownProgress(console)


class ShownProgress(RunObserver):
    """Shows a bar in rows on a terminal, and prints a line now and then elsewhere."""

    def __init__(self, console: Console, *, every_s: float = LINE_EVERY_S) -> None:
        self._console, self._every_s = console, every_s
        self._meter: _Meter | None = None
        self._progress: Progress | None = None

    def event(self, event: Event) -> None:
        """Move the bar, or print a line if it is time."""
        match event:
            case RunStarted():
                self._begin(_Meter(event))
            case RunEnded() if self._progress:
                self._progress.stop()
                self._meter = self._progress = None
            case _ if self._meter and self._progress:
                self._meter.count(event)
                self._progress.move()
                self._progress.say(self._meter.line)

    def _begin(self, meter: _Meter) -> None:
        self._meter = meter
        self._progress = Progress(
            self._console, "predicting", meter.rows, figures=meter.texts, every_s=self._every_s
        )
        self._progress.start()
        self._progress.move()


class ProgressRecords(RunObserver):
    """Writes records with fields, for programs: begin, end, failures, and how far the run is now and then."""

    def __init__(self, console: Console, *, every_s: float = LINE_EVERY_S) -> None:
        self._say = console.note
        self._pause = Pause(every_s)
        self._meter: _Meter | None = None

    def event(self, event: Event) -> None:
        """Write a record of the event, if it needs one."""
        if isinstance(event, RunStarted):
            self._begin(event)
        elif self._meter:
            self._meter.count(event)
            self._write(event, self._meter)

    def _write(self, event: Event, meter: _Meter) -> None:
        match event:
            case UnitFailed(failure):
                self._failed(failure, meter.units_failed)
            case RunEnded(state):
                self._meter = None
                self._say(f"computing {state}", event="run_ended", state=state, **meter.figures)
            case _ if self._pause.is_over:
                self._pause.begin()
                self._say(meter.line(), event="progress", **meter.figures)

    def _begin(self, event: RunStarted) -> None:
        self._meter = _Meter(event)
        self._pause.begin()
        fields = {name: getattr(event, name) for name in event.__slots__}
        self._say(
            f"computing {plural(event.units - event.units_done, 'unit')}", event="run_started", **fields
        )

    def _failed(self, failure: Failure, n_failed: int) -> None:
        if n_failed <= _LOGGED_FAILURES:
            fields = failure.as_dict
            message, trace = fields.pop("message"), fields.pop("trace")
            more = {"traceback": trace} if trace else {}
            self._say(message, level="error", event="unit_failed", **fields, **more)
        elif n_failed == _LOGGED_FAILURES + 1:
            self._say("more units failed; the output's events.jsonl lists all of them", level="error")


class _Meter:
    """Counts units and rows, and the time they take."""

    def __init__(self, started: RunStarted) -> None:
        self.rows = Count(total=started.rows, done=started.rows_done)
        self._units_done = started.units_done
        self.units_failed = 0

    def count(self, event: Event) -> None:
        """Count a unit that has ended."""
        match event:
            case UnitDone(record):
                self._units_done += 1
                self.rows.add(record.rows_in)
            case UnitFailed(_, rows):
                self.units_failed += 1
                self.rows.give_up(rows)

    @property
    def failed(self) -> str:
        return f"{plural(self.units_failed, 'unit')} failed" if self.units_failed else ""

    def texts(self) -> tuple[str, ...]:
        return self.rows.amount, self.rows.pace, self.failed, self.rows.left

    def line(self) -> str:
        return self.rows.line(self.failed)

    @property
    def figures(self) -> dict[str, Any]:
        left_s = self.rows.left_s
        return {
            "units_done": self._units_done,
            "units_failed": self.units_failed,
            "rows": self.rows.total,
            "rows_done": self.rows.done,
            "rows_per_s": round(self.rows.per_s, 1),
            "left_s": None if left_s is None else round(left_s, 1),
            "seconds": round(self.rows.seconds, 3),
        }
