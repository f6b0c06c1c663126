"""A sample of a job's input vectors, for seeing drift, and rows that the model was trained on.

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
    from lvm_batch.lvm.checkpoints.training_vectors import TrainingVectors

_UNITS = 16
_ROWS = 256


class Sample(NamedTuple):
    """Norms of sampled vectors, and the mean vector; ``None`` of no vectors.

    ``seen`` is the share of the rows that the primary model was trained on, ``None`` if that is not known.
    """

    norm: Figure | None
    centroid: tuple[float, ...] | None
    seen: Figure | None = None


NO_SAMPLE = Sample(None, None)


def sample_input(plan: Plan, outputs: Collection[str], *, digest: TrainingVectors | None = None) -> Sample:
    """Return norms and the mean of contexts' last vectors, from the ok rows among the first 256 of up to 16 units.

    The units are spread evenly over those whose ``output`` is among ``outputs``. ``digest`` is that of the vectors that
    the primary model was trained on.
    Raises ``DataError`` or ``OSError`` if a file can no longer be read.
    """
    units = [unit for unit in plan.units if unit.output in outputs]
    if not units:
        return NO_SAMPLE
    chosen = np.unique(np.linspace(0, len(units) - 1, min(_UNITS, len(units))).astype(int))
    parts = [_first_rows(plan, units[place], digest) for place in chosen]
    vectors = np.concatenate([last for last, _ in parts])  # (n, dim)
    if not len(vectors):
        return NO_SAMPLE
    norms = np.linalg.norm(vectors, axis=1)
    std = float(norms.std(ddof=1)) if len(norms) > 1 else None
    seen = _share(np.concatenate([told for _, told in parts]))
    return Sample(Figure(float(norms.mean()), len(norms), std), tuple(vectors.mean(axis=0).tolist()), seen)


def _share(told: NDArray[np.int8]) -> Figure | None:
    """Return the share of seen rows among those that the digest tells of; ``None`` if there are none."""
    known = told[told >= 0]
    return Figure(float(known.mean()), len(known)) if len(known) else None


def _first_rows(
    plan: Plan, unit: Unit, digest: TrainingVectors | None
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return the last vectors of a unit's first contexts, and what the digest tells of these rows."""
    job = plan.job
    with open_unit(unit, job.dataset_format, batch_rows=_ROWS, pad=job.pad, along=()) as rows:
        batch = next(rows.batches, None)
        if batch is None:  # a file of no rows
            return np.empty((0, job.dataset_format.shape.dim)), np.empty(0, np.int8)
        ok = batch.status == OK
        contexts, targets = batch.contexts[ok], None if batch.targets is None else batch.targets[ok]
        told = digest.tell_rows(contexts, targets) if digest else np.empty(0, np.int8)
        return np.asarray(contexts[:, -1], np.float64), told
