"""How far a pass over rows is, on stderr: a bar on a terminal, a line every half minute elsewhere.

The rule: progress is a listener and nothing else depends on it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lvm_batch.jobs.prediction.telemetry.progress import LINE_EVERY_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.evaluation.rows import JudgedRows


def shown(batches: Iterable[JudgedRows], console: Console, *, what: str, n_rows: int) -> Iterator[JudgedRows]:
    """Yield ``batches``, and say how many of ``n_rows`` rows have been gone through by ``what``."""
    is_bar = console.progress.is_terminal
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    n_done, last_line = 0, monotonic()
    with Progress(*columns, console=console.progress, disable=not is_bar) as bar:
        task = bar.add_task(what, total=n_rows)
        for rows in batches:
            yield rows
            n_done += rows.n_read
            bar.update(task, completed=n_done)
            if not is_bar and monotonic() - last_line >= LINE_EVERY_S:
                last_line = monotonic()
                console.note(f"{what}: {n_done:,} of {n_rows:,} rows ({n_done / n_rows:.0%})")
        bar.update(task, completed=n_rows)
