"""What happens during a run.

The rule: the engine reports events and knows nobody who hears them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.jobs.errors import JobError
    from lvm_batch.jobs.models.self_check import Refusal
    from lvm_batch.jobs.prediction.execution.worker import Failure
    from lvm_batch.jobs.prediction.results.summary import Summary


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Work begins: units and rows in all, and those that earlier runs have done."""

    units: int
    rows: int
    units_done: int
    rows_done: int
    workers: int


@dataclass(frozen=True, slots=True)
class UnitDone:
    """A unit is committed."""

    record: CommitRecord


@dataclass(frozen=True, slots=True)
class UnitFailed:
    """A unit has no record."""

    failure: Failure
    rows: int


@dataclass(frozen=True, slots=True)
class WorkerRefused:
    """A worker may not work on this job."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing has happened for a moment: reported a few times a second, so that observers see the time pass."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """No more work: finished, or interrupted."""

    state: str


@dataclass(frozen=True, slots=True)
class RunSummarised:
    """The summary is written, and ``_SUCCESS`` if nothing stands in the way; the output is still held.

    ``records`` are the commit records of the job by output, ``computed`` those of the units that this run did.
    ``error`` is why the job is no success; ``ended`` is UTC. ``is_news`` says whether the run had anything to do, or
    the job is accepted now and was not before, or the other way round.
    """

    summary: Summary
    records: Mapping[str, CommitRecord]
    computed: Sequence[CommitRecord]
    error: JobError | None
    ended: datetime
    workers: int
    is_news: bool
    query_p95_ms: float | None = None


Event = RunStarted | UnitDone | UnitFailed | WorkerRefused | Waiting | RunEnded | RunSummarised

Listener = Callable[[Event], None]
