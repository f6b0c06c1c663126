"""Progress on stderr: a bar on a terminal, a line every half minute elsewhere.

The rule: progress is a listener and nothing else depends on it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lvm_batch.jobs.prediction.events import Event, RunEnded, RunStarted, UnitDone, UnitFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    import rich.console

    from lvm_batch.jobs.console import Console
    from lvm_batch.jobs.prediction.events import Listener
    from lvm_batch.jobs.prediction.worker import Failure

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
        self._failed = 0

    def __call__(self, event: Event) -> None:
        """Move the bar."""
        if isinstance(event, RunStarted):
            self._meter = _Meter(event)
            self._bar.start()
            self._bar.update(self._task, total=event.rows, completed=event.rows_done)
        elif isinstance(event, UnitDone) and self._meter:
            self._meter.add(event.record["rows_in"])
            self._bar.update(self._task, advance=event.record["rows_in"], rate=self._meter.rate)
        elif isinstance(event, UnitFailed):
            self._failed += 1
            self._bar.update(self._task, failed=f"{self._failed} units failed")
        elif isinstance(event, RunEnded):
            self._bar.stop()


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
        elif isinstance(event, UnitDone) and self._meter:
            self._meter.add(event.record["rows_in"])
            if monotonic() - self._last >= self._every_s:
                self._last = monotonic()
                self._say(self._meter.line)


class ProgressRecords:
    """Begin, end, failures, and how far the run is now and then, with fields, for logs that programs read."""

    def __init__(self, console: Console, *, every_s: float = LINE_EVERY_S) -> None:
        self._say = console.note
        self._every_s = every_s
        self._meter: _Meter | None = None
        self._last = monotonic()
        self._units_done = self._units_failed = 0

    def __call__(self, event: Event) -> None:
        """Say what happened, if it is worth a line."""
        match event:
            case RunStarted():
                self._begin(event)
            case UnitDone(record):
                self._units_done += 1
                self._meter.add(record["rows_in"]) if self._meter else None
                self._now_and_then()
            case UnitFailed(failure):
                self._units_failed += 1
                self._failed(failure)
            case RunEnded(state):
                self._say(f"computing {state}", event="run_ended", state=state, **self._figures)

    def _begin(self, event: RunStarted) -> None:
        self._meter = _Meter(event)
        self._last = monotonic()
        self._units_done = event.units_done
        fields = {name: getattr(event, name) for name in event.__slots__}
        self._say(f"computing {event.units - event.units_done:,} units", event="run_started", **fields)

    def _now_and_then(self) -> None:
        if self._meter and monotonic() - self._last >= self._every_s:
            self._last = monotonic()
            self._say(self._meter.line, event="progress", **self._figures)

    def _failed(self, failure: Failure) -> None:
        if self._units_failed <= _LOGGED_FAILURES:
            fields = failure.as_dict
            message, trace = fields.pop("message"), fields.pop("trace")
            more = {"traceback": trace} if trace else {}
            self._say(message, level="error", event="unit_failed", **fields, **more)
        elif self._units_failed == _LOGGED_FAILURES + 1:
            self._say("more units failed; events.jsonl of the output has all", level="error")

    @property
    def _figures(self) -> dict[str, Any]:
        units = {"units_done": self._units_done, "units_failed": self._units_failed}
        return units | (self._meter.figures if self._meter else {})


class _Meter:
    """Counts rows and the time they took."""

    def __init__(self, started: RunStarted) -> None:
        self._total = started.rows
        self._before = self._done = started.rows_done
        self._start = monotonic()

    def add(self, rows: int) -> None:
        self._done += rows

    @property
    def rows_per_s(self) -> float:
        return (self._done - self._before) / max(1e-9, monotonic() - self._start)

    @property
    def rate(self) -> str:
        return f"{self.rows_per_s:,.0f} rows/s"

    @property
    def left_s(self) -> float:
        return (self._total - self._done) / max(1e-9, self.rows_per_s)

    @property
    def line(self) -> str:
        share = self._done / max(1, self._total)
        return (
            f"{self._done:,} of {self._total:,} rows ({share:.0%}), {self.rate}, "
            f"about {self.left_s:,.0f} s left"
        )

    @property
    def figures(self) -> dict[str, Any]:
        return {
            "rows": self._total,
            "rows_done": self._done,
            "rows_per_s": round(self.rows_per_s, 1),
            "left_s": round(self.left_s, 1) if self._done > self._before else None,
            "seconds": round(monotonic() - self._start, 3),
        }
