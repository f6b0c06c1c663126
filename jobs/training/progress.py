"""How far a training is, on stderr: a bar on a terminal, a line for each epoch elsewhere.

The rule: progress is a listener and nothing else depends on it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lvm_batch.jobs.prediction.telemetry.progress import LINE_EVERY_S

if TYPE_CHECKING:
    from types import TracebackType

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.lvm.training.training import Epoch


class TrainingProgress:
    """Shows loss, cosine, rows a second and the time that is left."""

    def __init__(self, console: Console, *, name: str, n_windows: int, n_epochs: int) -> None:
        self._console = console
        self._is_bar = console.progress.is_terminal
        self._n_windows, self._n_epochs = n_windows, n_epochs
        self._bar = Progress(
            TextColumn(f"training {name}"),
            BarColumn(),
            TextColumn(
                "epoch {task.fields[epoch]}  loss {task.fields[loss]}  {task.fields[cosine]}  {task.fields[rate]}"
            ),
            TimeRemainingColumn(),
            console=console.progress,
            disable=not self._is_bar,
        )
        total = n_windows * n_epochs
        self._task = self._bar.add_task(
            name, total=total, epoch=f"1/{n_epochs}", loss="-", cosine="", rate=""
        )
        self._done = 0
        self._start = self._last_line = monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, n_rows: int, loss: float) -> None:
        """Take note of a step."""
        self._done += n_rows
        self._bar.update(
            self._task, advance=n_rows, loss=f"{loss:.6f}", rate=f"{self._rows_per_s:,.0f} rows/s"
        )

    def epoch(self, epoch: Epoch) -> None:
        """Take note of an epoch."""
        cosine = f"cosine {epoch.val_cosine:.4f}" if epoch.val_cosine is not None else ""
        self._bar.update(
            self._task,
            completed=self._n_windows * epoch.number,
            epoch=f"{min(epoch.number + 1, self._n_epochs)}/{self._n_epochs}",
            cosine=cosine,
        )
        is_time = monotonic() - self._last_line >= LINE_EVERY_S or epoch.number in {0, self._n_epochs}
        if not self._is_bar and is_time:
            self._last_line = monotonic()
            self._console.note(self._line(epoch, cosine))

    @property
    def _rows_per_s(self) -> float:
        return self._done / max(1e-9, monotonic() - self._start)

    def _line(self, epoch: Epoch, cosine: str) -> str:
        if not epoch.number:
            return f"before the first step: {cosine}"
        left_s = (self._n_epochs - epoch.number) * self._n_windows / max(1e-9, self._rows_per_s)
        return (
            f"epoch {epoch.number} of {self._n_epochs}: loss {epoch.train_loss:.6f}, {cosine}, "
            f"{self._rows_per_s:,.0f} rows/s, about {left_s:,.0f} s left"
        )
