"""Sampled rows of a run, as its entry in the history keeps them.

The rule: the columns are bytes, little-endian, so that entries can be compared, sent and written as they are; what the
numbers mean has a version, and only samples of one version are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SAMPLE_FORM = 1
"""Version of the numbers in a sample."""

_TYPES = {"groups": "<i4", "inputs": "<f2", "predictions": "<f2", "confidence": "<f4", "reasons": "<u1"}
_ONE_A_ROW = ("groups", "confidence", "reasons")


@dataclass(frozen=True, slots=True)
class RowSample:
    """``n`` rows of a run that have a prediction.

    ``groups`` int32 (n,): rows of equal number are of one article, or stood near each other. ``inputs`` float16
    (n, k) and ``predictions`` float16 (n, l) describe the vectors. ``confidence`` is float32 (n,), NaN where unknown.
    ``reasons`` uint8 (n,) has a bit for each of ``reason_names``, which are joined by commas. Raises ``ValueError`` if
    the columns have not ``n`` rows.
    """

    form: int
    n: int
    groups: bytes
    inputs: bytes
    predictions: bytes
    confidence: bytes
    reasons: bytes
    reason_names: str

    def __post_init__(self) -> None:
        for name, kind in _TYPES.items():
            n_bytes, row_bytes = len(getattr(self, name)), self.n * np.dtype(kind).itemsize
            fits = n_bytes == row_bytes if name in _ONE_A_ROW else row_bytes and n_bytes % row_bytes == 0
            if not fits:
                raise ValueError(f"`{name}` of a sample of {self.n} rows cannot have {n_bytes} bytes")

    @classmethod
    def of(cls, columns: dict[str, NDArray[Any]], reason_names: Sequence[str]) -> RowSample:
        """Return the sample with these columns, each with a row for each sampled row."""
        kept = {name: np.ascontiguousarray(columns[name], kind).tobytes() for name, kind in _TYPES.items()}
        return cls(SAMPLE_FORM, len(columns["groups"]), **kept, reason_names=",".join(reason_names))

    def column(self, name: str) -> NDArray[Any]:
        """Return a column, (n,); ``inputs`` and ``predictions`` are (n, width)."""
        values = np.frombuffer(getattr(self, name), _TYPES[name])
        return values if name in _ONE_A_ROW else values.reshape(self.n, -1)


def join_samples(samples: Sequence[RowSample], *, max_rows: int) -> RowSample | None:
    """Return the sample of all rows, spread evenly over them if they are more than ``max_rows``; ``None`` of none.

    A group of one sample is none of another.
    """
    if not samples:
        return None
    n_rows = sum(sample.n for sample in samples)
    kept = np.unique(np.linspace(0, n_rows - 1, min(max_rows, n_rows)).astype(int))
    columns = {name: np.concatenate([sample.column(name) for sample in samples]) for name in _TYPES}
    columns["groups"] = _renumbered(samples)
    return RowSample.of({name: values[kept] for name, values in columns.items()}, _names(samples[0]))


def _renumbered(samples: Sequence[RowSample]) -> NDArray[np.int32]:
    pairs = np.concatenate(
        [np.stack([np.full(one.n, number), one.column("groups")], 1) for number, one in enumerate(samples)]
    )
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int32)


def _names(sample: RowSample) -> list[str]:
    return sample.reason_names.split(",")
