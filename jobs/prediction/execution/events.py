"""What happens during a run, told to whoever listens.

The rule: the engine tells events and knows no listener; adding an output never touches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lvm_batch.io.output.answers import Record
    from lvm_batch.jobs.models.self_check import Refusal
    from lvm_batch.jobs.prediction.execution.worker import Failure


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

    record: Record


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
    """Nothing has happened for a moment: told a few times a second, so that listeners see the time pass."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """No more work: finished, or interrupted."""

    state: str


Event = RunStarted | UnitDone | UnitFailed | WorkerRefused | Waiting | RunEnded


class Listener(Protocol):
    """Anything that wants to hear of a run."""

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
