"""The report of an output folder: one page that holds everything it shows.

The rule: the same output gives the same bytes, whether a run writes its report at its end or a user
requests it later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lvm_batch.io.errors import OutputError
from lvm_batch.io.output.commit import REPORT, TMP, OutputFolder
from lvm_batch.io.storage.locations import locate
from lvm_batch.io.storage.store import open_store
from lvm_batch.jobs.places import Place, check_places
from lvm_batch.jobs.reports.data import gather
from lvm_batch.jobs.reports.page import page_of
from lvm_batch.jobs.reports.parts import render


def report(output: str, *, file: str | None = None) -> tuple[dict[str, Any], str]:
    """Write the report of the job in ``output``, to ``file`` if it is given; return values and text.

    Raises :class:`DataError` where there is no job, a document of it is damaged or newer, or the report cannot be
    written.
    """
    folder = OutputFolder(locate(output).text)
    check_page(file, output)
    data = gather(folder)
    content = render(page_of(data))
    if file is None:
        folder.write_report(content)
        place = locate(folder.text).child(REPORT).text
    else:
        place = write_page(content, file)
    documents = data.documents
    values = {
        "output": output,
        "job_id": documents.job.job_id,
        "state": documents.state,
        "units": documents.n_units,
        "units_done": len(documents.rows_by_output),
        "rows_done": documents.totals.rows_in,
        "rows_looked_at": data.columns.n_rows,
        "report": place,
    }
    unfinished = "" if documents.state == "done" else f" (the job is {documents.state})"
    return values, f"report    {place}{unfinished}"


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
