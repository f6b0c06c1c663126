"""The documents of a job in its output folder: job, summary, commit records, events.

The rule: documents are checked when they are read, so that a damaged or newer one is refused by its name, and later
code can rely on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from lvm_batch.io.errors import OutputError
from lvm_batch.io.output.commit import EVENTS, JOB, PART_EVENTS, PARTS, SUMMARY, TMP, OutputFolder
from lvm_batch.io.output.job_documents import FORMAT
from lvm_batch.io.output.lock import is_held
from lvm_batch.io.storage.store import open_store
from lvm_batch.jobs.prediction.results.next_commands import NextCommands
from lvm_batch.jobs.prediction.results.run_warnings import warnings_of
from lvm_batch.jobs.prediction.results.status import state_of
from lvm_batch.jobs.prediction.results.summary import Summary
from lvm_batch.jobs.prediction.results.totals import totals_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.jobs.prediction.execution.worker import Failure
    from lvm_batch.jobs.prediction.results.summary import RunWarning
    from lvm_batch.jobs.prediction.results.totals import Totals

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SettingsDocument(BaseModel, extra="allow"):
    """The settings of a run of any version; those that a report uses have fields here."""

    lane_column: str = "lane"
    split_column: str = "split"
    rename: list[str] = []
    min_confidence: float = 0.0
    min_margin: float = 0.0
    max_bad_rows: float = 1.0
    max_fallback_rate: float = 1.0
    fallback_policy: str = "warn"
    max_fallback_loss: float | None = None

    def name_in_output(self, column: str) -> str:
        """Return the name in the output of a column of the input."""
        return dict(pair.partition("=")[::2] for pair in self.rename).get(column, column)


class Event(BaseModel):
    """One line of ``events.jsonl``; which fields it has follows from its kind."""

    at: AwareDatetime
    event: str
    workers: Count = 0
    rows_in: Count = 0
    seconds: dict[str, Seconds] = {}
    worker: str | None = None
    state: str = ""


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of a job; ``totals`` are those of its records.

    ``summary`` is None before a run has come to its end, ``part_events`` are those of each part of the job.
    ``n_lost_events`` counts lines that are no events.
    """

    text: str
    job: JobDocument
    settings: SettingsDocument
    summary: Summary | None
    totals: Totals
    rows_by_output: Mapping[str, int]
    events: tuple[Event, ...]
    part_events: tuple[tuple[Event, ...], ...]
    n_lost_events: int
    succeeded: bool
    is_running: bool

    @property
    def n_units(self) -> int:
        """Units of the whole job; files that were mended since it began have units of their own."""
        begun = {unit.output for unit in self.job.units}
        return len(begun) + sum(output not in begun for output in self.rows_by_output)

    @property
    def n_rows(self) -> int:
        """Rows of the whole job."""
        begun = {unit.output for unit in self.job.units}
        later = sum(rows for output, rows in self.rows_by_output.items() if output not in begun)
        return self.job.rows + later

    @property
    def failed_units(self) -> list[Failure]:
        """Units that failed in the last run that came to its end, and have no output since."""
        failed = self.summary.failed_units if self.summary else ()
        return [unit for unit in failed if unit.output not in self.rows_by_output]

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        """The warnings about the rows that are written."""
        commands = NextCommands.after(self.summary) if self.summary else NextCommands.of_job(self.job)
        return warnings_of(self.totals, self.settings, commands)

    @property
    def state(self) -> str:
        """``done`` needs ``_SUCCESS``: a job whose units are all there may have failed a gate."""
        n_missing = self.n_units - len(self.rows_by_output)
        return state_of(
            is_running=self.is_running,
            succeeded=self.succeeded,
            n_missing=n_missing,
            is_summarised=self.summary is not None and self.summary.units_done == self.n_units,
        )


def read_documents(
    folder: OutputFolder, *, summary: Summary | None = None, records: Mapping[str, CommitRecord] | None = None
) -> Documents:
    """Read what ``folder`` says of its job.

    ``summary`` and ``records`` are given by a run that has both; it also holds the folder, and has ended. Raises
    :class:`InputNotFound` where there is no job, and :class:`OutputError`, naming the document, where one is damaged or
    was written by a later version.
    """
    job = _job(folder)
    at_end = summary is not None
    summary = read_summary(folder) if summary is None else summary
    records = folder.records() if records is None else records
    logs, n_lost = _events(folder)
    return Documents(
        text=folder.text,
        job=job,
        settings=_settings(folder, job, summary),
        summary=summary,
        totals=totals_of(records.values()),
        rows_by_output={output: records[output].tally.rows_out for output in sorted(records)},
        events=logs[0],
        part_events=logs[1:],
        n_lost_events=n_lost,
        succeeded=folder.succeeded,
        is_running=not at_end and is_held(folder.text),
    )


def _job(folder: OutputFolder) -> JobDocument:
    job = folder.required_job()
    if job.identity.is_newer:
        raise OutputError(
            f"{folder.text} was written by lvm-batch {job.version}, whose format is {job.identity.format}; "
            f"this version reads up to {FORMAT}",
            "use that version of lvm-batch, or a later one",
        )
    return job


def read_summary(folder: OutputFolder) -> Summary | None:
    """Return the summary in ``folder``, ``None`` before a run has come to its end; raises :class:`OutputError`."""
    values = folder.summary()
    try:
        return None if values is None else Summary.from_json(values)
    except ValidationError as error:
        raise _damaged(folder, SUMMARY, error) from error


def _settings(folder: OutputFolder, job: JobDocument, summary: Summary | None) -> SettingsDocument:
    """Return the settings of the last run that came to its end, or of the first that began."""
    name, values = (SUMMARY, summary.settings) if summary else (JOB, job.settings)
    try:
        return SettingsDocument.model_validate(values)
    except ValidationError as error:
        raise _damaged(folder, name, error) from error


def _damaged(folder: OutputFolder, name: str, error: ValidationError) -> OutputError:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return OutputError(
        f"{folder.text}/{name} is damaged: {where}: {first['msg']}",
        "remove what is damaged, then run the job's command again",
    )


def _events(folder: OutputFolder) -> tuple[tuple[tuple[Event, ...], ...], int]:
    """Read all whole lines of runs, and of each part of the job; a killed run may have left half a line."""
    store = open_store(folder.text, staging=TMP)
    of_parts = [f"{PARTS}/{name}" for name in store.names(PARTS) if name.endswith(PART_EVENTS)]
    logs = [list(_parsed(content or b"")) for content in store.read_many([EVENTS, *of_parts])]
    events = tuple(tuple(event for event in log if event is not None) for log in logs)
    return events, sum(event is None for log in logs for event in log)


def _parsed(content: bytes) -> Iterator[Event | None]:
    adapter = TypeAdapter(Event)
    for line in content.splitlines():
        try:
            yield adapter.validate_json(line)
        except ValidationError:
            yield None
