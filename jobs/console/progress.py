"""How far a piece of work is, on stderr: a bar on a terminal, a line now and then elsewhere.

The rule: every bar and every line of progress goes through here, so that all commands look and pause alike.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import rich.progress
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from rich.progress import ProgressColumn

    from lvm_batch.jobs.console.console import Console

LINE_EVERY_S = 30


class Pause:
    """Tells when the next line is due: at the earliest ``every_s`` after the last one."""

    def __init__(self, every_s: float = LINE_EVERY_S) -> None:
        self._every_s = every_s
        self._since = monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the next line is due."""
        return monotonic() - self._since >= self._every_s

    def begin(self) -> None:
        """Begin the next pause: a line has just been printed."""
        self._since = monotonic()


class Progress:
    """One bar with rich's ``columns``, or lines; ``fields`` are what columns of text show.

    ``total`` is the number of steps, ``None`` if it is unknown. The bar shows between ``start`` and ``stop``, or while
    a ``with`` block runs.
    """

    def __init__(
        self,
        console: Console,
        *columns: ProgressColumn,
        what: str = "",
        total: int | None = None,
        every_s: float = LINE_EVERY_S,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self._console = console
        self._is_bar = console.shows_bars
        self._bar = rich.progress.Progress(*columns, console=console.progress, disable=not self._is_bar)
        self._task = self._bar.add_task(what, total=total, **(fields or {}))
        self._pause = Pause(every_s)

    def start(self) -> None:
        """Show the bar, and begin the pause before the first line."""
        self._bar.start()
        self._pause.begin()

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._bar.refresh()  # in Jupyter, rich would leave it as it was drawn last
        self._bar.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def update(
        self,
        *,
        total: int | None = None,
        completed: float | None = None,
        advance: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Move the bar, or change what it shows."""
        self._bar.update(self._task, total=total, completed=completed, advance=advance, **(fields or {}))

    def say(self, line: Callable[[], str], *, now: bool = False) -> None:
        """Print ``line()`` if there is no bar, and either the pause is over or ``now`` is true."""
        if not self._is_bar and (now or self._pause.is_over):
            self._pause.begin()
            self._console.note(line())


class _Rows(Protocol):
    @property
    def n_read(self) -> int:
        """How many rows of the dataset were read for these."""


R = TypeVar("R", bound=_Rows)


def watch_rows(batches: Iterable[R], console: Console, *, what: str, n_rows: int) -> Iterator[R]:
    """Yield ``batches``, and show how many of ``n_rows`` rows have gone through ``what``."""
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    n_done = 0
    with Progress(console, *columns, what=what, total=n_rows) as progress:
        for rows in batches:
            yield rows
            n_done += rows.n_read
            progress.update(completed=n_done)
            progress.say(partial(_rows_line, what, n_done, n_rows))
        progress.update(completed=n_rows)


def _rows_line(what: str, n_done: int, n_rows: int) -> str:
    return f"{what}: {n_done:,} of {n_rows:,} rows ({n_done / n_rows:.0%})"
