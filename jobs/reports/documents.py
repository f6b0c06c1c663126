"""What an output folder says of its job, read for a report: job, summary, commit records, events.

The rule: what is used here was checked here, so that a damaged or newer document is refused by its name, and nothing
later has to doubt it. This module does not know what a report shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from lvm_batch.io.errors import OutputError
from lvm_batch.io.output.commit import EVENTS, JOB, SUMMARY, TMP, OutputFolder
from lvm_batch.io.output.lock import is_held
from lvm_batch.io.output.unit_files import DONE
from lvm_batch.io.storage.store import open_store
from lvm_batch.jobs.prediction.planning.job import FORMAT
from lvm_batch.jobs.prediction.results.status import state_of
from lvm_batch.jobs.prediction.results.summary import totals_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.io.output.answers import Record

    Values = dict[str, Any]

Document = TypeVar("Document", bound=BaseModel)
Count = Annotated[int, Field(ge=0)]
_NO_COUNT = (AttributeError, LookupError, TypeError, ValueError)
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _UnitBegun(BaseModel):
    output: str
    rows: Count


class _Identity(BaseModel):
    format: int


class SettingsDocument(BaseModel, extra="allow"):
    """The settings of a run, by whichever version; those that a report makes use of have fields here."""

    lane_column: str = "lane"
    split_column: str = "split"
    rename: list[str] = []
    min_confidence: float = 0.0
    min_margin: float = 0.0
    max_bad_rows: float = 1.0
    max_fallback_rate: float = 1.0
    fallback_policy: str = "warn"

    def name_in_output(self, column: str) -> str:
        """Return what a column of the input is called in the output."""
        return dict(pair.partition("=")[::2] for pair in self.rename).get(column, column)


class JobDocument(BaseModel):
    """``job.json``: what was asked."""

    version: str
    job_id: str
    fingerprint: str
    identity: _Identity
    settings: SettingsDocument
    models: dict[str, dict[str, Any] | Any]
    rows: Count
    unreadable: list[str] = []
    units: list[_UnitBegun]


class FailedUnit(BaseModel):
    """A unit without output."""

    output: str
    message: str
    hint: str = ""
    trace: str | None = None


class _Unreadable(BaseModel):
    path: str
    message: str


class Selection(BaseModel):
    """What the last run read, where it did not read all."""

    since: AwareDatetime | None
    until: AwareDatetime | None
    files: Count
    rows_out: Count
    fallback_rate: float
    bad_row_rate: float
    bad_rows: list[dict[str, Any]]


class SummaryDocument(BaseModel):
    """``summary.json``, as far as records do not tell the same: what the last run that came to its end said."""

    units_done: Count = 0
    failed_units: list[FailedUnit] = []
    unreadable_files: list[_Unreadable] = []
    criteria_not_evaluated: dict[str, str] = {}
    notices: list[str] = []
    settings: SettingsDocument | None = None
    selected: Selection | None = None


class Event(BaseModel):
    """One line of ``events.jsonl``; which fields it has follows from what it tells."""

    at: AwareDatetime
    event: str
    workers: Count = 0
    rows_in: Count = 0
    seconds: dict[str, Seconds] = {}
    worker: str | None = None
    state: str = ""


@dataclass(frozen=True, slots=True)
class Documents:
    """All that an output folder says of its job; ``totals`` are those of its records.

    ``summary`` is None before a run has come to its end, ``n_lost_events`` counts lines that are no events.
    """

    text: str
    job: JobDocument
    summary: SummaryDocument | None
    totals: Values
    rows_by_output: Mapping[str, int]
    events: tuple[Event, ...]
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
    def settings(self) -> SettingsDocument:
        """The settings of the last run that came to its end, or of the first that began."""
        return (self.summary.settings if self.summary else None) or self.job.settings

    @property
    def failed_units(self) -> list[FailedUnit]:
        """Units that failed in the last run that came to its end, and have no output since."""
        failed = self.summary.failed_units if self.summary else []
        return [unit for unit in failed if unit.output not in self.rows_by_output]

    @property
    def state(self) -> str:
        """``done`` needs ``_SUCCESS``: a job whose units are all there may have failed a gate."""
        n_missing = self.n_units - len(self.rows_by_output)
        return state_of(is_running=self.is_running, succeeded=self.succeeded, n_missing=n_missing)


def read_documents(
    folder: OutputFolder, *, summary: Values | None = None, records: Mapping[str, Record] | None = None
) -> Documents:
    """Read what ``folder`` says of its job.

    ``summary`` and ``records`` are given by a run that has both; it also holds the folder, and has ended. Raises
    :class:`InputNotFound` where there is no job, and :class:`OutputError`, naming the document, where one is damaged or
    was written by a later version.
    """
    job = _job(folder)
    at_end = summary is not None
    summary = folder.summary() if summary is None else summary
    records = folder.records() if records is None else records
    events, n_lost = _events(folder)
    totals, rows_by_output = _totals(folder, records)
    return Documents(
        text=folder.text,
        job=job,
        summary=None if summary is None else _checked(folder, SUMMARY, SummaryDocument, summary),
        totals=totals,
        rows_by_output=rows_by_output,
        events=events,
        n_lost_events=n_lost,
        succeeded=folder.succeeded,
        is_running=not at_end and is_held(folder.text),
    )


def _job(folder: OutputFolder) -> JobDocument:
    found = folder.required_job()
    identity = found.get("identity")
    written = identity.get("format") if isinstance(identity, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise OutputError(
            f"{folder.text} was written by lvm-batch {found.get('version')}, whose format is {written}; "
            f"this version reads up to {FORMAT}",
            "use that version of lvm-batch, or a later one",
        )
    return _checked(folder, JOB, JobDocument, found)


def _checked(folder: OutputFolder, name: str, kind: type[Document], values: Values) -> Document:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(folder, name, f"{where}: {first['msg']}") from error


def _totals(folder: OutputFolder, records: Mapping[str, Record]) -> tuple[Values, dict[str, int]]:
    """Add the records up; they are whole JSON, but a count of one may be missing or no number."""
    try:
        return _added(records)
    except _NO_COUNT as error:
        raise _damaged(folder, DONE, f"the record of {_first_damaged(records)} lacks a count") from error


def _added(records: Mapping[str, Record]) -> tuple[Values, dict[str, int]]:
    return totals_of(records.values()), {
        output: int(records[output]["rows_out"]) for output in sorted(records)
    }


def _first_damaged(records: Mapping[str, Record]) -> str:
    for output, record in records.items():
        try:
            _added({output: record})
        except _NO_COUNT:
            return output
    return "a unit"


def _damaged(folder: OutputFolder, name: str, why: str) -> OutputError:
    return OutputError(
        f"{folder.text}/{name} is damaged: {why}", "remove what is damaged, then run the job's command again"
    )


def _events(folder: OutputFolder) -> tuple[tuple[Event, ...], int]:
    """A killed run may have left half a line, which is no reason to tell nothing."""
    content = open_store(folder.text, staging=TMP).read(EVENTS) or b""
    found = list(_parsed(content))
    return tuple(event for event in found if event is not None), sum(event is None for event in found)


def _parsed(content: bytes) -> Iterator[Event | None]:
    adapter = TypeAdapter(Event)
    for line in content.splitlines():
        try:
            yield adapter.validate_json(line)
        except ValidationError:
            yield None
