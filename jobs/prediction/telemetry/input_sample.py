"""A sample of a job's input vectors, for seeing drift.

The rule: vectors are taken as the files hold them, before they are normalised, from the same places for the same job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.history.run_entry import Figure
from lvm_batch.io.schema import OK

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.jobs.prediction.planning.plan import Plan

_UNITS = 16
_ROWS = 256


class Sample(NamedTuple):
    """Norms of sampled vectors, and the mean vector; ``None`` of no vectors."""

    norm: Figure | None
    centroid: tuple[float, ...] | None


NO_SAMPLE = Sample(None, None)


def sample_input(plan: Plan, outputs: Collection[str]) -> Sample:
    """Return norms and the mean of contexts' last vectors, from the ok rows among the first 256 of up to 16 units.

    The units are spread evenly over those whose ``output`` is among ``outputs``.
    Raises ``DataError`` or ``OSError`` if a file can no longer be read.
    """
    units = [unit for unit in plan.units if unit.output in outputs]
    if not units:
        return NO_SAMPLE
    chosen = np.unique(np.linspace(0, len(units) - 1, min(_UNITS, len(units))).astype(int))
    vectors = np.concatenate([_first_vectors(plan, units[place]) for place in chosen])  # (n, dim)
    if not len(vectors):
        return NO_SAMPLE
    norms = np.linalg.norm(vectors, axis=1)
    std = float(norms.std(ddof=1)) if len(norms) > 1 else None
    return Sample(Figure(float(norms.mean()), len(norms), std), tuple(vectors.mean(axis=0).tolist()))


def _first_vectors(plan: Plan, unit: Unit) -> NDArray[np.float64]:
    job = plan.job
    with open_unit(unit, job.dataset_format, batch_rows=_ROWS, pad=job.pad, along=()) as rows:
        batch = next(rows.batches, None)
        if batch is None:  # a file of no rows
            return np.empty((0, job.dataset_format.shape.dim))
        return np.asarray(batch.contexts[batch.status == OK, -1], np.float64)
