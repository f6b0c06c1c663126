"""The events of a run.

The rule: an event says what happened; each observer decides what to do with it.
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
    from lvm_batch.jobs.prediction.execution.query_latency import QueryTimes
    from lvm_batch.jobs.prediction.execution.worker import Failure
    from lvm_batch.jobs.prediction.results.summary import Summary


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Work begins: units and rows in total, those that earlier runs have done, and the number of workers."""

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
    """A worker is refused, and computes no unit of this job."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Waiting:
    """No unit ends at the moment; reported twice a second, so that observers can show the time."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """Work ends; ``state`` is ``finished`` or ``interrupted``."""

    state: str


@dataclass(frozen=True, slots=True)
class RunSummarised:
    """The summary is written, and ``_SUCCESS`` too if the job is a success; the output is still locked.

    ``records`` are the commit records of the job by output, ``computed`` those of the units that this run computed.
    ``error`` says why the job is no success; ``ended`` is UTC. ``is_news`` says whether the run had units to compute,
    or whether the job became a success or ceased to be one.
    """

    summary: Summary
    records: Mapping[str, CommitRecord]
    computed: Sequence[CommitRecord]
    error: JobError | None
    ended: datetime
    workers: int
    is_news: bool
    query: QueryTimes | None = None


Event = RunStarted | UnitDone | UnitFailed | WorkerRefused | Waiting | RunEnded | RunSummarised

Listener = Callable[[Event], None]
