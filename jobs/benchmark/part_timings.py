"""Measures each part of the work on one core, in a process like a worker.

The rule: the timed code is the code of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.jobs.models.latency import QueryCost, query_cost
from lvm_batch.jobs.models.load import load_cascade
from lvm_batch.jobs.prediction.execution.unit import compute_unit
from lvm_batch.jobs.prediction.planning.plan import make_plan
from lvm_batch.jobs.processes.resources import keep_freed_memory
from lvm_batch.lvm.architectures.catalog import build_model
from lvm_batch.lvm.devices.devices import set_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class PartTimings:
    """The seconds of each part and in total, for ``rows`` rows; ``escalated`` of them went through the fallback."""

    rows: int
    escalated: int
    seconds: Mapping[str, float]
    total_s: float
    has_bank: bool


def measure_parts(settings: RunSettings) -> PartTimings:
    """Compute the units of a job on one thread, one after the other; the first one does not count."""
    keep_freed_memory()
    set_threads(1)
    plan = make_plan(settings, threads=1)
    cascade, folder = load_cascade(plan.job.models), OutputFolder(settings.output)
    first, *others = plan.units
    compute_unit(plan.job, first, cascade, folder).commit()
    start = perf_counter()
    records = [compute_unit(plan.job, unit, cascade, folder).commit() for unit in others]
    total_s = perf_counter() - start
    spent = [record.seconds or {} for record in records]
    seconds = {part: sum(each[part] for each in spent) for part in spent[0]}
    rows = sum(record.tally.rows_out for record in records)
    escalated = sum(record.tally.rows_by_route["gru"] for record in records)
    return PartTimings(rows, escalated, seconds, total_s, cascade.index is not None)


def measure_query(architecture: str, n_queries: int) -> QueryCost:
    """Return what a single query to an untrained model takes on one thread."""
    return query_cost(partial(build_model, architecture, seed=0), length=5, n_queries=n_queries)
