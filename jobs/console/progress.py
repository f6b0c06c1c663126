"""How far a piece of work is, on stderr: a bar on a terminal, a line now and then elsewhere.

The rule: every bar and every line of progress goes through here, so that all commands look and pause alike.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import rich.progress
from rich.progress import BarColumn, ProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from lvm_batch.jobs.console.count import Count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from rich.progress import Task

    from lvm_batch.jobs.console.console import Console

LINE_EVERY_S = 30

_REFRESH_HZ = 4  # figures that change ten times a second cannot be read


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
    """One bar with a label and figures, or lines; ``count`` says how far the work is.

    ``figures`` are shown beside the bar, by default those of the count. The bar shows between ``start`` and ``stop``,
    or while a ``with`` block runs; a ``transient`` one then disappears.
    """

    def __init__(
        self,
        console: Console,
        what: str,
        count: Count,
        *,
        figures: Callable[[], Iterable[str]] | None = None,
        every_s: float = LINE_EVERY_S,
        transient: bool = False,
    ) -> None:
        self._console = console
        self._what, self._count = what, count
        self._is_bar = console.shows_bars
        columns = (TextColumn("{task.description}"), BarColumn(), _Figures(figures or self._figures))
        self._bar = rich.progress.Progress(
            *columns,
            console=console.progress,
            refresh_per_second=_REFRESH_HZ,
            transient=transient,
            disable=not self._is_bar,
        )
        self._task = self._bar.add_task(what, total=count.total)
        self._pause = Pause(every_s)

    def start(self) -> None:
        """Show the bar, and begin the pause before the first line."""
        self._console.clear()
        self._bar.start()
        self._pause.begin()

    def stop(self) -> None:
        """Leave the bar as it is."""
        self.move()
        self._bar.refresh()  # in Jupyter, rich would leave it as it was drawn last
        self._bar.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def add(self, n: int) -> None:
        """Count ``n`` more as done, and show it."""
        self._count.add(n)
        self.show()

    def reach(self, done: int) -> None:
        """Count everything up to ``done`` as done, and show it."""
        self._count.reach(done)
        self.show()

    def show(self) -> None:
        """Move the bar to the count, or print a line if it is time."""
        self.move()
        self.say(lambda: f"{self._what}: {self._count.line()}")

    def move(self) -> None:
        """Move the bar to the count."""
        self._bar.update(self._task, total=self._count.total, completed=self._count.done)

    def say(self, line: Callable[[], str], *, now: bool = False) -> None:
        """Print ``line()`` if there is no bar, and either the pause is over or ``now`` is true."""
        if not self._is_bar and (now or self._pause.is_over):
            self._pause.begin()
            self._console.note(line())

    def _figures(self) -> Iterable[str]:
        return self._count.amount, self._count.pace, self._count.left


class _Figures(ProgressColumn):
    """Texts beside a bar, as they are at the moment."""

    def __init__(self, figures: Callable[[], Iterable[str]]) -> None:
        super().__init__(Column(no_wrap=True))
        self._texts = figures

    def render(self, task: Task) -> Text:  # noqa: ARG002 - rich's signature
        """Return the texts that are not empty."""
        return Text("  ".join(filter(None, self._texts())))


T = TypeVar("T")


def watch_files(found: Iterable[T], console: Console | None, *, what: str, n_files: int) -> Iterator[T]:
    """Yield what is found in each of ``n_files`` files, and show for how many; without a console, just yield."""
    if console is None:
        yield from found
        return
    with Progress(console, what, Count("file", total=n_files), transient=True) as progress:
        for each in found:
            yield each
            progress.add(1)


class _Rows(Protocol):
    @property
    def n_read(self) -> int:
        """How many rows of the dataset were read for these."""


R = TypeVar("R", bound=_Rows)


def watch_rows(batches: Iterable[R], console: Console, *, what: str, n_rows: int) -> Iterator[R]:
    """Yield ``batches``, and show how many of ``n_rows`` rows have gone through ``what``."""
    count = Count(total=n_rows)
    with Progress(console, what, count) as progress:
        for rows in batches:
            yield rows
            progress.add(rows.n_read)
        count.reach(n_rows)
