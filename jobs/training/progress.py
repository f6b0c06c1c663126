"""How far a training is, on stderr: a bar on a terminal, a line for each epoch elsewhere.

The rule: the training tells its progress and depends on nothing here.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from lvm_batch.jobs.console.progress import Progress

if TYPE_CHECKING:
    from types import TracebackType

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.lvm.training.training import Epoch

_FIGURES = "epoch {task.fields[epoch]}  loss {task.fields[loss]}  {task.fields[cosine]}  {task.fields[rate]}"


class TrainingProgress:
    """Shows loss, cosine, rows a second and the time that is left."""

    def __init__(self, console: Console, *, name: str, n_windows: int, n_epochs: int) -> None:
        self._n_windows, self._n_epochs = n_windows, n_epochs
        columns = (TextColumn(f"training {name}"), BarColumn(), TextColumn(_FIGURES), TimeRemainingColumn())
        first = {"epoch": f"1/{n_epochs}", "loss": "-", "cosine": "", "rate": ""}
        self._progress = Progress(console, *columns, total=n_windows * n_epochs, fields=first)
        self._done = 0
        self._start = monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, n_rows: int, loss: float) -> None:
        """Count a step."""
        self._done += n_rows
        fields = {"loss": f"{loss:.6f}", "rate": f"{self._rows_per_s:,.0f} rows/s"}
        self._progress.update(advance=n_rows, fields=fields)

    def epoch(self, epoch: Epoch) -> None:
        """Show the results of an epoch; the lines before the first step and after the last epoch are always printed."""
        cosine = f"cosine {epoch.val_cosine:.4f}" if epoch.val_cosine is not None else ""
        self._progress.update(
            completed=self._n_windows * epoch.number,
            fields={"epoch": f"{min(epoch.number + 1, self._n_epochs)}/{self._n_epochs}", "cosine": cosine},
        )
        self._progress.say(lambda: self._line(epoch, cosine), now=epoch.number in {0, self._n_epochs})

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
