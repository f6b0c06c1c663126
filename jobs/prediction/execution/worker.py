"""The task of a worker: one unit, or a few small ones.

The rule: a task never raises, and commits what it computes while the worker computes on: that waits for a disk or a
store. A task returns a commit record, or a failure that says what, where and what to do. Before it
computes a unit, it looks for the unit's record, then for its published file. Models are loaded once per process, and
must first pass the self-check; a process that fails it, or whose device fails later, returns a refusal instead of
records.
"""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from lvm_batch.io.errors import DataError
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import CommitRecord, UnitPlace
from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.errors import SurroundingsError
from lvm_batch.jobs.models.self_check import BOUNDS, Refusal, check_answers, name_worker
from lvm_batch.jobs.prediction.execution.compute_threads import (
    give_slot_away,
    start_computing,
    worker_address,
    worker_slots,
)
from lvm_batch.jobs.prediction.execution.worker_metrics import count_failure, count_unit
from lvm_batch.jobs.processes.resources import usable_cores
from lvm_batch.lvm.errors import DeviceError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.jobs.models.facts import ModelSet
    from lvm_batch.jobs.models.self_check import ExpectedAnswers
    from lvm_batch.jobs.prediction.execution.unit import BankNames, ComputedUnit
    from lvm_batch.jobs.prediction.planning.job import Job
    from lvm_batch.lvm.inference.cascade import Cascade

T = TypeVar("T")

_loading = threading.Lock()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a unit has no record: ``kind`` is the kind of the error; only bugs have a ``trace``.

    ``worker`` is the address of the worker that reported it, ``""`` if none did.
    """

    output: str
    kind: str
    message: str
    hint: str = ""
    trace: str | None = None
    worker: str = ""

    @property
    def as_dict(self) -> dict[str, Any]:
        """The failure as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


Outcome = CommitRecord | Failure


def run_units(job: Job, units: Sequence[Unit]) -> list[Outcome | Refusal]:
    """Compute ``units`` one after the other, and commit each while the next one is computed.

    While the last one is committed, the worker may compute those of its next task. After a refusal, refuse the rest
    too.
    """
    outcomes: list[Outcome | Refusal] = []
    commit: Callable[[], Outcome | Refusal] | None = None
    for unit in units:
        computing = start_computing(_find_or_compute, job, unit)
        if commit is not None:
            outcomes.append(commit())
        computed = computing.result()
        if isinstance(computed, Refusal):
            return outcomes + [name_worker(computed, worker_address())] * (len(units) - len(outcomes))
        commit = partial(_commit, job, unit, computed)
    give_slot_away()
    return outcomes if commit is None else [*outcomes, commit()]


def run_unit(job: Job, unit: Unit) -> Outcome | Refusal:
    """Compute ``unit`` unless it is done already; the outcome names the worker."""
    [outcome] = run_units(job, [unit])
    return outcome


def _find_or_compute(job: Job, unit: Unit) -> ComputedUnit | Outcome | Refusal:
    """Return the unit's record if it is done already, or compute it."""

    def step() -> ComputedUnit | CommitRecord | Refusal:
        folder = OutputFolder(job.output)
        return _existing_record(job, unit, folder) or _compute(job, unit, folder)

    return _behind_door(job, unit, step)


def _commit(job: Job, unit: Unit, computed: ComputedUnit | Outcome) -> Outcome | Refusal:
    """Commit a unit if it was computed now; return the outcome, which names the worker."""
    outcome: Outcome | Refusal
    if isinstance(computed, CommitRecord | Failure):
        outcome = computed
    else:
        outcome = _behind_door(job, unit, computed.commit)
        if isinstance(outcome, CommitRecord):
            count_unit(outcome, perf_counter() - computed.started)
    if isinstance(outcome, Refusal):
        return name_worker(outcome, worker_address())
    if isinstance(outcome, Failure):
        count_failure(outcome.kind)
        trace = outcome.trace and redact(outcome.trace)
        return replace(outcome, message=redact(outcome.message), trace=trace, worker=worker_address())
    return replace(outcome, worker=worker_address())


def _behind_door(job: Job, unit: Unit, step: Callable[[], T]) -> T | Failure | Refusal:
    """Take a step of a unit; return what it returns, or why it failed."""
    try:
        return step()
    except DeviceError as error:
        return Refusal(redact(error.message), _device(job.models.device))
    except (DataError, ModelError) as error:
        return Failure(unit.output, error.kind, *error.args)
    except Exception as error:  # noqa: BLE001 - the worker's door: one bug must not end the other units
        return _failure(unit, error)


def _failure(unit: Unit, error: Exception) -> Failure:
    """Return the failure for an error that no other code has named: a fault of the system, or a bug."""
    from lvm_batch.jobs.processes.system_errors import system_error

    if fault := system_error(error):
        message, hint = fault.args
        return Failure(unit.output, SurroundingsError.kind, f"{unit.output}: {message}", hint)
    trace = "".join(traceback.format_exception(error))
    message = f"{unit.output}: {type(error).__name__}: {error}"
    return Failure(unit.output, "bug", message, "report this", trace)


def _existing_record(job: Job, unit: Unit, folder: OutputFolder) -> CommitRecord | None:
    """Return the unit's commit record, or make one if only its file is published; ``None`` if neither exists."""
    place = UnitPlace.of(unit)
    record = folder.record(unit.output)
    if record is not None and record.place.agrees_with(place):
        return record
    return folder.adopt(unit.output, job.fingerprint, place)


def _compute(job: Job, unit: Unit, folder: OutputFolder) -> ComputedUnit | Refusal:
    from lvm_batch.jobs.prediction.execution.unit import compute_unit

    cascade = _cascade(job)
    if isinstance(cascade, Refusal):
        return cascade
    return compute_unit(job, unit, cascade, folder, names=_bank_names(job))


def _cascade(job: Job) -> Cascade | Refusal:
    if (here := _release()) != job.release:
        return Refusal(f"this run uses lvm-batch {job.release}", f"lvm-batch {here}")
    with _loading:  # several threads of a worker may come at once
        return _cached_cascade(job.models, job.threads, job.expected)


def _bank_names(job: Job) -> BankNames:
    """Return what the job needs of what the bank knows of its vectors; both are read once."""
    from lvm_batch.jobs.models.load import load_ids, load_keys
    from lvm_batch.jobs.prediction.execution.unit import BankNames

    bank = job.models.bank
    if bank is None:
        return BankNames()
    with _loading:
        return BankNames(load_ids(bank) if job.n_neighbours else None, load_keys(bank))


@lru_cache(maxsize=2)
def _cached_cascade(
    models: ModelSet, threads: int | None, expected: ExpectedAnswers | None
) -> Cascade | Refusal:
    """Load the models and check them; a refusal lasts as long as the process."""
    from lvm_batch.jobs.models.load import load_cascade
    from lvm_batch.jobs.processes.resources import keep_freed_memory
    from lvm_batch.lvm.devices.devices import set_threads

    keep_freed_memory()
    set_threads(threads or _share_of_threads())
    device = _device(models.device)
    try:
        cascade = load_cascade(models)
        refused = expected and check_answers(cascade, expected, bound=BOUNDS[models.precision], device=device)
    except DeviceError as error:
        return Refusal(error.message, device)
    return refused or cascade


@cache
def _release() -> str:
    from importlib.metadata import version

    return version("lvm-batch")


def _device(name: str) -> str:
    """Return the name of this process's device, as users see it."""
    from lvm_batch.lvm.devices.devices import device_name, pick_device

    try:
        return device_name(pick_device(name))
    except DeviceError:
        return f"without {name}"


def _share_of_threads() -> int:
    """Return the cores for each task of this worker; the nanny sets OMP_NUM_THREADS to 1 for other reasons."""
    return max(1, usable_cores() // worker_slots())
