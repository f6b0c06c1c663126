"""The report of an output folder: one page that holds everything it shows.

The rule: the same output gives the same bytes, whether a run writes its report at its end or somebody asks for it
later; and a report that cannot be made is a note, never a reason for a run to fail.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from lvm_batch.io.errors import DataError, OutputError, OutputLocked
from lvm_batch.io.output.commit import REPORT, TMP, OutputFolder
from lvm_batch.io.storage.locations import locate
from lvm_batch.io.storage.store import open_store
from lvm_batch.jobs.places import Place, check_places
from lvm_batch.jobs.reports.data import gather
from lvm_batch.jobs.reports.page import page_of
from lvm_batch.jobs.reports.parts import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.io.output.answers import Record
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


def report(output: str, *, file: str | None = None) -> tuple[dict[str, Any], str]:
    """Write the report of the job in ``output``, to ``file`` if it is given; return values and text.

    Raises :class:`DataError` where there is no job, a document of it is damaged or newer, or the report cannot be
    written.
    """
    folder = OutputFolder(locate(output).text)
    check_page(file, output)
    told = gather(folder)
    content = render(page_of(told))
    if file is None:
        folder.write_report(content)
        place = locate(folder.text).child(REPORT).text
    else:
        place = write_page(content, file)
    documents = told.documents
    values = {
        "output": output,
        "job_id": documents.job.job_id,
        "state": documents.state,
        "units": documents.n_units,
        "units_done": len(documents.rows_by_output),
        "rows_done": documents.totals.rows_in,
        "rows_looked_at": told.columns.n_rows,
        "report": place,
    }
    unfinished = "" if documents.state == "done" else f" (the job is {documents.state})"
    return values, f"report    {place}{unfinished}"


def get_ready() -> None:
    """Import what draws, on a thread of its own, and return at once: a run has moments in which it only waits."""

    def load() -> None:
        with suppress(*_SPOILED):  # the report will tell
            import_module("matplotlib.backends.backend_svg")

    Thread(target=load, name="get ready to draw").start()


def write_report(
    folder: OutputFolder, summary: Summary, *, records: Mapping[str, Record] | None = None
) -> str | None:
    """Write the report of a run that has just ended, its summary and ``_SUCCESS`` being written.

    Returns why there is no report, for the run to say, or ``None``; raises :class:`OutputLocked` alone, if the run has
    lost its output. ``records`` spares reading them again.
    """
    try:
        content = render(page_of(gather(folder, summary=summary, records=records)))
        folder.write_report(content)
    except OutputLocked:
        raise
    except _SPOILED as error:
        why = error.args[0] if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        return f"no report was written: {why}; `lvm-batch report {folder.text}` tries again"
    return None


def check_page(file: str | None, *outputs: str) -> None:
    """Raise :class:`OutputError` where a page would lie among the predictions, or in the place of one."""
    if file is not None and locate(file).text != locate(outputs[0]).child(REPORT).text:
        kept = [Place("the predictions", "OUT", output, keeps_out="everything") for output in outputs]
        check_places([Place("the page", "--output", file, is_file=True)], kept=kept)


def write_page(content: bytes, file: str) -> str:
    """Write a page to ``file``, a path or a URL; return its place."""
    place = locate(file)
    if not place.is_local:
        above, _, name = place.text.rpartition("/")
        open_store(above, staging=TMP).write(name, content)
        return place.text
    try:
        Path(place.path).write_bytes(content)
    except OSError as error:
        raise OutputError(
            f"{place.text} cannot be written: {error.strerror or error}", "name another file with --output"
        ) from error
    return place.text
