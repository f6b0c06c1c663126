"""Progress on stderr: a bar on a terminal, a line every half minute elsewhere.

The rule: progress is a listener and nothing else depends on it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.prediction.execution.events import Event, RunEnded, RunStarted, UnitDone, UnitFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    import rich.console

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.prediction.execution.events import Listener
    from lvm_batch.jobs.prediction.execution.worker import Failure

LINE_EVERY_S = 30
_LOGGED_FAILURES = 100


def progress_on(console: Console) -> Listener:
    """Return how progress is shown on ``console``: records in a log, a bar on a terminal, lines elsewhere."""
    if console.log:
        return ProgressRecords(console)
    return ProgressBar(console.progress) if console.progress.is_terminal else ProgressLines(console.note)


class ProgressBar:
    """A bar in rows, for people who watch."""

    def __init__(self, console: rich.console.Console) -> None:
        self._bar = Progress(
            TextColumn("predicting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows  {task.fields[rate]}  {task.fields[failed]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("rows", total=None, rate="", failed="")
        self._meter: _Meter | None = None

    def __call__(self, event: Event) -> None:
        """Move the bar."""
        if isinstance(event, RunStarted):
            self._meter = _Meter(event)
            self._bar.start()
            self._bar.update(self._task, total=event.rows, completed=event.rows_done)
        elif isinstance(event, RunEnded):
            self._bar.stop()
        elif self._meter:
            self._meter.count(event)
            self._show(self._meter)

    def _show(self, meter: _Meter) -> None:
        self._bar.update(self._task, completed=meter.rows_done, rate=meter.rate, failed=meter.failed)


class ProgressLines:
    """A line now and then, for logs."""

    def __init__(self, say: Callable[[str], None], *, every_s: float = LINE_EVERY_S) -> None:
        self._say = say
        self._every_s = every_s
        self._meter: _Meter | None = None
        self._last = monotonic()

    def __call__(self, event: Event) -> None:
        """Say how far the run is, if it is time."""
        if isinstance(event, RunStarted):
            self._meter = _Meter(event)
            self._last = monotonic()
        elif self._meter:
            self._meter.count(event)
            if monotonic() - self._last >= self._every_s and not isinstance(event, RunEnded):
                self._last = monotonic()
                self._say(self._meter.line)


class ProgressRecords:
    """Begin, end, failures, and how far the run is now and then, with fields, for logs that programs read."""

    def __init__(self, console: Console, *, every_s: float = LINE_EVERY_S) -> None:
        self._say = console.note
        self._every_s = every_s
        self._meter: _Meter | None = None
        self._last = monotonic()

    def __call__(self, event: Event) -> None:
        """Say what happened, if it is worth a line."""
        if isinstance(event, RunStarted):
            self._begin(event)
        elif self._meter:
            self._meter.count(event)
            self._tell(event, self._meter)

    def _tell(self, event: Event, meter: _Meter) -> None:
        match event:
            case UnitFailed(failure):
                self._failed(failure, meter.units_failed)
            case RunEnded(state):
                self._say(f"computing {state}", event="run_ended", state=state, **meter.figures)
            case _ if monotonic() - self._last >= self._every_s:
                self._last = monotonic()
                self._say(meter.line, event="progress", **meter.figures)

    def _begin(self, event: RunStarted) -> None:
        self._meter = _Meter(event)
        self._last = monotonic()
        fields = {name: getattr(event, name) for name in event.__slots__}
        self._say(f"computing {event.units - event.units_done:,} units", event="run_started", **fields)

    def _failed(self, failure: Failure, n_failed: int) -> None:
        if n_failed <= _LOGGED_FAILURES:
            fields = failure.as_dict
            message, trace = fields.pop("message"), fields.pop("trace")
            more = {"traceback": trace} if trace else {}
            self._say(message, level="error", event="unit_failed", **fields, **more)
        elif n_failed == _LOGGED_FAILURES + 1:
            self._say("more units failed; events.jsonl of the output has all", level="error")


class _Meter:
    """Counts units and rows, and the time they took."""

    def __init__(self, started: RunStarted) -> None:
        self._total = started.rows
        self._before = self.rows_done = started.rows_done
        self._failed = 0
        self._units_done = started.units_done
        self.units_failed = 0
        self._start = monotonic()

    def count(self, event: Event) -> None:
        """Take note of a unit that has ended."""
        match event:
            case UnitDone(record):
                self._units_done += 1
                self.rows_done += record.rows_in
            case UnitFailed(_, rows):
                self.units_failed += 1
                self._failed += rows

    @property
    def rows_per_s(self) -> float:
        return (self.rows_done - self._before) / max(1e-9, monotonic() - self._start)

    @property
    def rate(self) -> str:
        return f"{self.rows_per_s:,.0f} rows/s"

    @property
    def failed(self) -> str:
        return f"{plural(self.units_failed, 'unit')} failed" if self.units_failed else ""

    @property
    def left_s(self) -> float | None:
        """Seconds for the rows that are neither done nor given up, ``None`` before any are done."""
        if self.rows_done == self._before:
            return None
        return (self._total - self.rows_done - self._failed) / max(1e-9, self.rows_per_s)

    @property
    def line(self) -> str:
        share = self.rows_done / max(1, self._total)
        left = "" if self.left_s is None else f"about {self.left_s:,.0f} s left"
        parts = (f"{self.rows_done:,} of {self._total:,} rows ({share:.0%})", self.rate, self.failed, left)
        return ", ".join(filter(None, parts))

    @property
    def figures(self) -> dict[str, Any]:
        left_s = self.left_s
        return {
            "units_done": self._units_done,
            "units_failed": self.units_failed,
            "rows": self._total,
            "rows_done": self.rows_done,
            "rows_per_s": round(self.rows_per_s, 1),
            "left_s": None if left_s is None else round(left_s, 1),
            "seconds": round(monotonic() - self._start, 3),
        }
