"""How a job grows: inputs that are new or have changed since it began, with their units.

The rule: a document about a job is never rewritten. Each growth is a document of its own; the job is all of them
together, and for each input the latest document that names it counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lvm_batch.io.output.job_difference import addition
from lvm_batch.io.output.job_documents import Growth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.output.job_difference import Difference
    from lvm_batch.io.output.job_documents import JobDocument


def joined(job: JobDocument, growths: Sequence[Growth]) -> JobDocument:
    """Return ``job`` as it is after its ``growths``: inputs by name, units, rows, unreadable files."""
    if not growths:
        return job
    inputs = dict(job.identity.inputs)
    latest: dict[str, int] = {}
    for number, growth in enumerate(growths, 1):
        inputs |= growth.inputs
        latest |= {file.path: number for file in growth.inputs.values()}
    documents: list[tuple[int, JobDocument | Growth]] = list(enumerate([job, *growths]))
    units = tuple(
        unit
        for number, document in documents
        for unit in document.units
        if latest.get(unit.input, 0) == number
    )
    return replace(
        job,
        identity=replace(job.identity, inputs=dict(sorted(inputs.items()))),
        units=units,
        unreadable=tuple(
            path
            for number, document in documents
            for path in document.unreadable
            if latest.get(path, 0) == number
        ),
        rows=sum(unit.rows for unit in units),
    )


def growth(existing: JobDocument, requested: JobDocument) -> Growth | None:
    """Return what ``requested`` adds to ``existing``; ``None`` if it has no new or changed inputs."""
    before = existing.identity.inputs
    mended = set(existing.unreadable).difference(requested.unreadable)
    inputs = {
        name: file
        for name, file in requested.identity.inputs.items()
        if before.get(name) != file or file.path in mended
    }
    if not inputs:
        return None
    paths = {file.path for file in inputs.values()}
    return Growth(
        version=requested.version,
        inputs=inputs,
        units=tuple(unit for unit in requested.units if unit.input in paths),
        unreadable=tuple(path for path in requested.unreadable if path in paths),
    )


def refused_growth(existing: JobDocument, requested: JobDocument) -> Difference | None:
    """Return what ``requested`` would add to ``existing``, for parts, which add nothing to their job."""
    grown = growth(existing, requested)
    return None if grown is None else addition(existing.identity, grown.inputs)
