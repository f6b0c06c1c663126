"""The share of a job that one of its parts computes.

The rule: it follows from the job's units and the part alone, so that the same command computes the same units again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.schema import Part
    from lvm_batch.jobs.prediction.planning.plan import Plan


def share_of(part: Part, plan: Plan, job: JobDocument) -> tuple[Plan, JobDocument]:
    """Return ``plan`` and ``job`` with the units of one part of the job.

    A plan that leaves out files by their time has fewer units than the job. Files that the job has as unreadable are
    for the run that finishes it.
    """
    mine = frozenset(part.share(job.outputs))
    units = tuple(unit for unit in plan.units if unit.output in mine)
    planned = {unit.output for unit in units}
    unreadable = tuple(error for error in plan.unreadable if str(error.path) not in job.unreadable)
    entries = {unit.output: unit for unit in job.units if unit.output in planned}
    return (
        replace(plan, units=units, unreadable=unreadable),
        replace(job, units=tuple(entries.values()), unreadable=()),
    )
