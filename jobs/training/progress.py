"""How far a training is, on stderr: a bar on a terminal, a line for each epoch elsewhere.

The rule: the training tells its progress and depends on nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from lvm_batch.jobs.console.count import Count
from lvm_batch.jobs.console.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.lvm.training.training import Epoch


class TrainingProgress:
    """Shows loss, cosine, rows a second and the time that is left."""

    def __init__(self, console: Console, *, name: str, n_windows: int, n_epochs: int) -> None:
        self._n_windows, self._n_epochs = n_windows, n_epochs
        self._count = Count(total=n_windows * n_epochs)
        self._epoch, self._loss, self._cosine = 1, "", ""
        self._progress = Progress(console, f"training {name}", self._count, figures=self._figures)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def resume(self, n_epochs: int) -> None:
        """Begin after the epochs of an earlier training."""
        self._count.begin_at(self._n_windows * n_epochs)
        self._epoch = n_epochs + 1

    def step(self, n_rows: int, loss: float) -> None:
        """Count a step."""
        self._loss = f"loss {loss:.6f}"
        self._count.add(n_rows)
        self._progress.move()

    def epoch(self, epoch: Epoch) -> None:
        """Show the results of an epoch; the lines before the first step and after the last epoch are always printed."""
        self._cosine = f"cosine {epoch.val_cosine:.4f}" if epoch.val_cosine is not None else ""
        self._epoch = min(epoch.number + 1, self._n_epochs)
        self._count.reach(self._n_windows * epoch.number)
        self._progress.move()
        self._progress.say(lambda: self._line(epoch), now=epoch.number in {0, self._n_epochs})

    def _figures(self) -> Iterable[str]:
        count = self._count
        return f"epoch {self._epoch} of {self._n_epochs}", self._loss, self._cosine, count.pace, count.left

    def _line(self, epoch: Epoch) -> str:
        if not epoch.number:
            return f"before the first step: {self._cosine}"
        parts = (f"loss {epoch.train_loss:.6f}", self._cosine, self._count.pace, self._count.left)
        return f"epoch {epoch.number} of {self._n_epochs}: {', '.join(filter(None, parts))}"
