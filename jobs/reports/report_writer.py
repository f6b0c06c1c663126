"""Writes the report of a run that ends.

The rule: a report that cannot be made is one note, never a reason for a run to fail.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING

from lvm_batch.io.errors import DataError, OutputLocked
from lvm_batch.jobs.prediction.observers import RunObserver
from lvm_batch.jobs.prediction.results.events import RunSummarised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.jobs.prediction.observers import RunBeginning
    from lvm_batch.jobs.prediction.results.events import Event
    from lvm_batch.jobs.prediction.results.summary import Summary

_SPOILED = (
    DataError,
    OSError,  # reading and writing
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,  # computing, drawing, filling in; also what Arrow and the template raise
)


class ReportWriter(RunObserver):
    """Writes ``report.html`` if the run has news; ``tell`` gets a note if that does not work."""

    _folder: OutputFolder

    def __init__(self, *, tell: Callable[[str], object]) -> None:
        self._tell = tell

    def begin(self, run: RunBeginning) -> None:
        """Report on the output that the run holds."""
        self._folder = run.folder

    def event(self, event: Event) -> None:
        """Write the report once the summary and ``_SUCCESS`` are written."""
        if isinstance(event, RunSummarised) and event.is_news:
            note = write_report(self._folder, event.summary, records=event.records)
            if note:
                self._tell(note)


def write_report(
    folder: OutputFolder, summary: Summary, *, records: Mapping[str, CommitRecord] | None = None
) -> str | None:
    """Write the report of a run that has just ended, its summary and ``_SUCCESS`` being written.

    Returns why there is no report, for the run to say, or ``None``; raises :class:`OutputLocked` alone, if the run has
    lost its output. ``records`` spares reading them again.
    """
    try:
        from lvm_batch.jobs.reports.data import gather
        from lvm_batch.jobs.reports.page import page_of
        from lvm_batch.jobs.reports.parts import render

        folder.write_report(render(page_of(gather(folder, summary=summary, records=records))))
    except OutputLocked:
        raise
    except _SPOILED as error:
        why = error.args[0] if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        return f"no report was written: {why}; `lvm-batch report {folder.text}` tries again"
    return None


def prepare_to_draw() -> None:
    """Import the drawing libraries on another thread, and return at once: a run sometimes only waits."""
    Thread(target=_import_what_draws, name="prepare to draw").start()


def _import_what_draws() -> None:
    with suppress(*_SPOILED):  # the report will raise it
        import_module("matplotlib.backends.backend_svg")
        import_module("matplotlib.figure")
        import_module("lvm_batch.jobs.reports.page")
