"""The summary of a run: its work, and the results of the job.

The rule: ``summary.json`` is declared here, once; all code that reads or shows it uses this type.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime  # noqa: TC003 - pydantic reads the annotations
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from lvm_batch.io.output.job_documents import Success
from lvm_batch.io.tables.registration import Registered  # noqa: TC001 - pydantic reads the annotations
from lvm_batch.jobs.models.self_check import Refusal  # noqa: TC001 - as above
from lvm_batch.jobs.prediction.execution.worker import Failure  # noqa: TC001 - as above
from lvm_batch.jobs.prediction.results.totals import NO_GAIN, BadRowInFile, Gain, Totals, totals_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.jobs.models.facts import ModelRef
    from lvm_batch.jobs.prediction.planning.plan import Plan
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class UnreadableInput:
    """A file that was left out, and why."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Figures of the files in the requested time, if that is not all files."""

    since: datetime | None
    until: datetime | None
    files: int
    units: int
    units_done: int
    rows_in: int
    rows_out: int
    fallback_rate: float
    bad_row_rate: float
    bad_rows: tuple[BadRowInFile, ...]
    escalation_gain: Gain = NO_GAIN

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the figures."""
        return asdict(self) | {"since": _iso(self.since), "until": _iso(self.until)}


@dataclass(frozen=True, slots=True)
class RunWarning:
    """A result to look at, and what to do; ``kind`` is a stable name, ``value`` the figure that was judged."""

    kind: str
    message: str
    hint: str
    value: float

    @property
    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class UsedModel:
    """A model that a run used: where it was, and the SHA-256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PartProgress:
    """Which part of a job was computed, and how far the job is: its units, and those that have a commit record."""

    number: int
    count: int
    units: int
    units_done: int


@dataclass(frozen=True, slots=True)
class Summary:
    """``summary.json``: fields stand in its order, those of ``totals`` among them.

    ``left_out`` are the job's files that no run could read, ``unreadable_files`` those of this run. ``wall_s`` are the
    seconds that this run took. ``registered`` says what tables hold of the output. Of a ``part`` of a job, all is that
    of its own units, and stands in no file.
    """

    job_id: str
    fingerprint: str
    output: str
    files: int
    units: int
    units_done: int
    units_computed: int
    rows_computed: int
    failed_units: tuple[Failure, ...]
    refused_workers: tuple[Refusal, ...]
    left_out: tuple[str, ...]
    unreadable_files: tuple[UnreadableInput, ...]
    totals: Totals
    selected: Selection | None
    criteria_not_evaluated: dict[str, str]
    notices: tuple[str, ...]
    wall_s: float
    models: dict[str, UsedModel | None]
    bank: str | None
    settings: dict[str, Any]
    warnings: tuple[RunWarning, ...] = ()
    router: str | None = None
    part: PartProgress | None = None
    registered: tuple[Registered, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Summary:
        """Read a summary; keys of newer versions are ignored. Raises ``ValidationError`` if it is damaged."""
        return _adapter().validate_python({**values, "totals": values})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the summary."""
        values = asdict(self) | {
            "refused_workers": [refusal.as_dict for refusal in self.refused_workers],
            "selected": self.selected and self.selected.to_json(),
            "registered": [each._asdict() for each in self.registered],
        }
        if self.part is None:
            del values["part"]
        fields = (value if name == "totals" else {name: value} for name, value in values.items())
        return {name: value for field in fields for name, value in field.items()}

    @property
    def is_whole(self) -> bool:
        """Whether every unit of the job is committed, also those that this run did not look at."""
        return self.units_done == self.units and not self.left_out

    @property
    def limit(self) -> int | None:
        """The number of rows beyond which the job reads none; ``None`` for no limit."""
        return self.settings.get("limit")

    @property
    def success(self) -> Success:
        """The content of ``_SUCCESS``, if the job is a success."""
        totals = self.totals
        return Success(
            job_id=self.job_id,
            fingerprint=self.fingerprint,
            units=self.units,
            rows_in=totals.rows_in,
            rows_out=totals.rows_out,
            rows_by_route=totals.rows_by_route,
            rows_by_status=totals.rows_by_status,
            limit=self.limit,
        )


@cache
def _adapter() -> TypeAdapter[Summary]:
    return TypeAdapter(Summary)


def summarise(
    plan: Plan,
    settings: RunSettings,
    document: JobDocument,
    records: Mapping[str, CommitRecord],
    failures: Sequence[Failure],
    *,
    units_computed: int,
    rows_computed: int,
    refused: Sequence[Refusal] = (),
    wall_s: float,
) -> Summary:
    """Return the summary of a run that has ended; ``document`` is its job with all growths."""
    job = plan.job
    return Summary(
        job_id=job.job_id,
        fingerprint=job.fingerprint,
        output=job.output,
        files=len({unit.input for unit in document.units}),
        units=len(document.units),
        units_done=len(records),
        units_computed=units_computed,
        rows_computed=rows_computed,
        failed_units=tuple(failures),
        refused_workers=tuple(refused),
        left_out=document.unreadable,
        unreadable_files=tuple(UnreadableInput(str(error.path), error.args[0]) for error in plan.unreadable),
        totals=totals_of(records.values()),
        selected=_selection(plan, records),
        criteria_not_evaluated=plan.unavailable,
        notices=plan.notices,
        wall_s=round(wall_s, 3),
        models={"amn": _used(job.models.primary), "gru": _used(job.models.fallback)},
        bank=job.models.bank.path if job.models.bank else None,
        settings=settings.as_dict(),
        router=job.models.router.path if job.models.router else None,
    )


def _used(model: ModelRef | None) -> UsedModel | None:
    return None if model is None else UsedModel(model.path, model.sha256)


def _selection(plan: Plan, records: Mapping[str, CommitRecord]) -> Selection | None:
    """Return the figures of the files in the requested time; ``None`` if that is all files."""
    if plan.span is None:
        return None
    done = [records[unit.output] for unit in plan.units if unit.output in records]
    totals = totals_of(done)
    return Selection(
        since=plan.span.since,
        until=plan.span.until,
        files=len(plan.footers),
        units=len(plan.units),
        units_done=len(done),
        rows_in=totals.rows_in,
        rows_out=totals.rows_out,
        fallback_rate=totals.fallback_rate,
        bad_row_rate=totals.bad_row_rate,
        bad_rows=totals.bad_rows,
        escalation_gain=totals.escalation_gain,
    )


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
