"""Samples the rows of a dataset: how many are usable, and what their vectors are like.

The rule: rows are read as a run reads them: all of a small dataset, else the first rows of a few
files at even distances. A file that breaks is noted, and the others are still read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import row_bytes, whole_unit
from lvm_batch.io.errors import DataError
from lvm_batch.io.schema import OK, STATUSES
from lvm_batch.jobs.datasets.signal import SignalSums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.io.dataset.units import DatasetFormat, Footer
    from lvm_batch.io.schema import Pad

SAMPLE_ROWS = 2000
WHOLE_BYTES = 64 * 2**20  # decoded; a second or two
_BATCH_ROWS = 500
_FILES = 8
_WHOLE_FILES = 500
_MAX_DETAILS = 3


@dataclass(slots=True)
class _Mean:
    """The mean of the finite values."""

    count: int = 0
    total: float = 0.0

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None

    def add(self, values: NDArray[np.float64]) -> None:
        known = values[np.isfinite(values)]
        self.count += len(known)
        self.total += float(known.sum())


@dataclass(slots=True)
class Sample:
    """What the sampled rows show; a mean of no values is ``None``.

    ``is_whole`` says that they are all rows of the dataset. ``errors`` are those of files that break.
    ``details`` are the first few rows with a detail of their status. ``last_cosine`` and ``mean_cosine`` compare the
    context's last vector, and the mean of the context, with the target: a model should do better. ``signal`` is of
    whole contexts, without padding.
    """

    rows: int = 0
    is_whole: bool = True
    errors: list[DataError] = field(default_factory=list)
    by_status: Counter[str] = field(default_factory=Counter)
    details: list[dict[str, Any]] = field(default_factory=list)
    norms: _Mean = field(default_factory=_Mean)
    last_cosine: _Mean = field(default_factory=_Mean)
    mean_cosine: _Mean = field(default_factory=_Mean)
    signal: SignalSums = field(default_factory=SignalSums)

    def values(self) -> dict[str, Any]:
        """Return the sample as plain values."""
        return {
            "rows": self.rows,
            "is_whole": self.is_whole,
            "by_status": {status: self.by_status[status] for status in STATUSES},
            "details": self.details,
            "vector_norm": self.norms.value,
            "targets": self.last_cosine.count,
            "last_vector_cosine": self.last_cosine.value,
            "context_mean_cosine": self.mean_cosine.value,
            "signal": self.signal.signal().values(),
        }

    def add(self, batch: Batch, file: str) -> None:
        """Add the rows of a batch of ``file``."""
        self.rows += batch.n_rows
        self.by_status.update(STATUSES[code] for code in batch.status.tolist())
        for row in sorted(batch.details)[: _MAX_DETAILS - len(self.details)]:
            detail = {"file": file, "row": batch.first_row + row, "detail": batch.details[row]}
            self.details.append(detail | {"status": STATUSES[batch.status[row]]})
        usable = batch.status == OK
        contexts = batch.contexts[usable].astype(np.float64)  # (n, length, dim)
        self.norms.add(np.linalg.norm(contexts, axis=2).reshape(-1))
        if batch.targets is not None:
            targets = batch.targets[usable].astype(np.float64)
            self.last_cosine.add(_cosines(contexts[:, -1], targets))
            self.mean_cosine.add(_cosines(contexts.mean(axis=1), targets))
        whole = usable.copy()
        whole[list(batch.details)] = False  # padded
        self.signal.add(batch.contexts[whole], None if batch.targets is None else batch.targets[whole])


def read_sample(footers: Sequence[Footer], dataset_format: DatasetFormat, *, pad: Pad | None) -> Sample:
    """Read a sample of the rows of files."""
    decoded = sum(footer.n_rows * row_bytes(footer, dataset_format.shape) for footer in footers)
    sample = Sample(is_whole=decoded <= WHOLE_BYTES and len(footers) <= _WHOLE_FILES)
    chosen = footers if sample.is_whole else _evenly([footer for footer in footers if footer.n_rows])
    for number, footer in enumerate(chosen):
        left = SAMPLE_ROWS - sample.rows
        n_rows = footer.n_rows if sample.is_whole else -(-left // (len(chosen) - number))
        try:
            _add_file(sample, footer, dataset_format, n_rows, pad)
        except DataError as error:
            sample.errors.append(error)
    sample.is_whole = sample.is_whole and not sample.errors
    return sample


def _evenly(footers: Sequence[Footer]) -> list[Footer]:
    """Return a few of the files, at even distances."""
    n_files = min(len(footers), _FILES)
    return [footers[number * len(footers) // n_files] for number in range(n_files)]


def _add_file(
    sample: Sample, footer: Footer, dataset_format: DatasetFormat, n_rows: int, pad: Pad | None
) -> None:
    """Add at least ``n_rows`` rows of a file, if it has so many; the last batch counts whole."""
    if n_rows <= 0:
        return
    until = sample.rows + n_rows
    batch_rows = min(n_rows, _BATCH_ROWS)
    with open_unit(whole_unit(footer), dataset_format, batch_rows=batch_rows, pad=pad, along=()) as rows:
        for batch in rows.batches:
            sample.add(batch, footer.file.path)
            if sample.rows >= until:
                return


def _cosines(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = np.einsum("ij,ij->i", left, right)
    cosines: NDArray[np.float64] = np.divide(products, norms, out=np.full(len(left), np.nan), where=norms > 0)
    return cosines
