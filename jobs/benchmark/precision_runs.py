"""Runs the same job in several precisions, in a process like a worker.

The rule: the precisions take turns, unit by unit, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.jobs.models.load import load_cascade
from lvm_batch.jobs.package.errors import LvmBatchError
from lvm_batch.jobs.prediction.execution.unit import compute_unit
from lvm_batch.jobs.prediction.planning.plan import make_plan
from lvm_batch.jobs.processes.resources import keep_freed_memory
from lvm_batch.lvm.devices.devices import set_threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.jobs.prediction.planning.job import Job
    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.lvm.inference.cascade import Cascade

EXACT = "fp32"
"""The precision that the others are compared with."""


@dataclass(frozen=True, slots=True)
class PrecisionRun:
    """A job in one precision: ``rows`` took ``seconds``, the first unit, which does not count, aside.

    ``routes`` and ``cosines`` are those of all rows, in order; None or NaN where there is none.
    """

    rows: int
    seconds: float
    routes: NDArray[np.object_]
    cosines: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Opened:
    job: Job
    units: Sequence[Unit]
    cascade: Cascade
    output: str


def run_precisions(settings: RunSettings, precisions: Sequence[str]) -> dict[str, PrecisionRun | str]:
    """Compute the whole job of ``settings`` on one thread in each precision; return its run, or why it is refused.

    Outputs are beside ``settings.output``. The first precision must run: its errors are raised.
    """
    keep_freed_memory()
    set_threads(1)
    first, *others = precisions
    opened: dict[str, _Opened | str] = {first: _open(settings, first)}
    for precision in others:
        try:
            opened[precision] = _open(settings, precision)
        except LvmBatchError as error:
            opened[precision] = error.message
    seconds = _time_units({name: job for name, job in opened.items() if isinstance(job, _Opened)})
    return {
        name: job if isinstance(job, str) else _as_run(job, seconds[name]) for name, job in opened.items()
    }


def _open(settings: RunSettings, precision: str) -> _Opened:
    output = f"{settings.output}-{precision}"
    plan = make_plan(settings.model_copy(update={"precision": precision, "output": output}), threads=1)
    return _Opened(plan.job, plan.units, load_cascade(plan.job.models), output)


def _time_units(jobs: Mapping[str, _Opened]) -> dict[str, float]:
    """Compute the units of all jobs in turns; return the seconds of each job after its first unit."""
    seconds = dict.fromkeys(jobs, 0.0)
    for turn in range(min(len(job.units) for job in jobs.values())):
        for name, job in jobs.items():
            start = perf_counter()
            compute_unit(job.job, job.units[turn], job.cascade, OutputFolder(job.output)).commit()
            seconds[name] += perf_counter() - start if turn else 0.0
    return seconds


def _as_run(job: _Opened, seconds: float) -> PrecisionRun:
    tables = [
        pq.read_table(Path(job.output) / unit.output, columns=["route", "cosine"]) for unit in job.units
    ]
    rows = pa.concat_tables([table.cast(_PLAIN) for table in tables])
    return PrecisionRun(
        rows=sum(unit.n_rows for unit in job.units[1:]),
        seconds=seconds,
        routes=np.array(rows["route"].to_pylist(), dtype=object),
        cosines=np.array(rows["cosine"].to_pylist(), dtype=np.float32),
    )


_PLAIN = pa.schema([("route", pa.string()), ("cosine", pa.float32())])
