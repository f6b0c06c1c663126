"""Progress on stderr: a bar on a terminal, a line every half minute elsewhere.

The rule: progress is a listener and nothing else depends on it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lvm_batch.jobs.prediction.events import Event, RunEnded, RunStarted, UnitDone, UnitFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

LINE_EVERY_S = 30


class ProgressBar:
    """A bar in rows, for people who watch."""

    def __init__(self, console: Console) -> None:
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
    def line(self) -> str:
        left_s = (self._total - self._done) / max(1e-9, self.rows_per_s)
        share = self._done / max(1, self._total)
        return (
            f"{self._done:,} of {self._total:,} rows ({share:.0%}), {self.rate}, about {left_s:,.0f} s left"
        )
