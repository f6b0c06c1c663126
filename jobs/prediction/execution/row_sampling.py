"""Samples rows of a unit for the history, as they pass through the worker.

The rule: which rows are sampled follows from their place in the file and the rate. They are spread evenly, so that
rows of one article are as few as can be, and nothing is read again.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.history.row_sample import RowSample
from lvm_batch.io.schema import OK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.output.writer import PredictionBlock

SAMPLED_ROWS = 256
"""Rows that a run samples, about: 32 kB of its entry in the history."""

_WIDTH = 32
_STRETCH_ROWS = 256  # longer than most articles, so that few of them are in two stretches
_MOST_BEGINNINGS = 0.5  # of rows, above which they are in no order
_COMPARED = 8  # components of a vector
_LARGEST = 60_000.0  # float16 ends at 65,504


def sample_rate(units: Iterable[Unit]) -> float:
    """Return the share of the rows of ``units`` that a run samples."""
    return min(1.0, SAMPLED_ROWS / max(1, sum(unit.n_rows for unit in units)))


class UnitSampler:
    """Keeps that share of the rows of ``unit`` that is its ``rate``, less those without a prediction.

    ``reasons`` names those to escalate, in the order of the blocks; at most eight.
    """

    def __init__(self, unit: Unit, rate: float, *, reasons: Sequence[str]) -> None:
        self._rate = rate
        self._reasons = reasons
        self._first_row = unit.first_row
        digest = hashlib.blake2b(unit.file.name.encode(), digest_size=4).digest()
        self._phase = int.from_bytes(digest, "little") / 2**32
        self._articles = _ArticleRuns()
        self._inputs: dict[int, NDArray[np.float16]] = {}
        self._parts: list[dict[str, NDArray[Any]]] = []

    def watch_batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Return ``batches``; what the sample says of contexts is kept as they pass: arrays of a batch are reused."""
        return self._watched(batches) if self._rate else batches

    def _watched(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._articles.add(batch)
            rows = self._chosen(batch.first_row, batch.n_rows)
            described = describe_contexts(batch.contexts[rows - batch.first_row])
            self._inputs.update(zip(rows.tolist(), described, strict=True))
            yield batch
            del batch  # else it is held until the next one is ready

    def watch_blocks(self, blocks: Iterator[PredictionBlock]) -> Iterator[PredictionBlock]:
        """Yield ``blocks``, the unit's rows in order, and keep what the sample says of predictions."""
        first_row = self._first_row
        for block in blocks:
            rows = self._chosen(first_row, len(block.status))
            rows = rows[block.status[rows - first_row] == OK]
            if len(rows):
                self._parts.append(self._described(block, rows, first_row))
            first_row += len(block.status)
            yield block
            del block  # else it is held until the next one is ready

    def _described(
        self, block: PredictionBlock, rows: NDArray[np.int64], first_row: int
    ) -> dict[str, NDArray[Any]]:
        places = rows - first_row
        return {
            "rows": rows,
            "inputs": np.stack([self._inputs.pop(row) for row in rows.tolist()]),
            "predictions": project(block.prediction[places]),
            "confidence": block.confidence[places],
            "reasons": np.packbits(block.reasons[places], axis=1, bitorder="little")[:, 0],
        }

    def sample(self) -> RowSample | None:
        """Return the sampled rows, ``None`` if there are none."""
        if not self._parts:
            return None
        columns = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        columns["groups"] = self._articles.number(columns.pop("rows"))
        return RowSample.of(columns, self._reasons)

    def _chosen(self, first_row: int, n_rows: int) -> NDArray[np.int64]:
        """Return the numbers of the rows to sample: those at which ``rate`` times the number reaches a whole one."""
        counted = np.floor(np.arange(first_row, first_row + n_rows + 1) * self._rate + self._phase)
        return np.flatnonzero(np.diff(counted)) + np.int64(first_row)


class _ArticleRuns:
    """Finds out which rows are of one article.

    The last vector of a row's context is the one before the last of the next row's, as long as the article goes on.
    Where most rows do not follow each other so, as in shuffled files, rows that stand near each other count as one run.
    """

    def __init__(self) -> None:
        self._begin: list[NDArray[np.bool_]] = []
        self._first_row: int | None = None
        self._last: NDArray[np.float32] | None = None

    def add(self, batch: Batch) -> None:
        """Note which rows of a batch do not follow the row before."""
        if self._first_row is None:
            self._first_row = batch.first_row
        length = batch.contexts.shape[1]
        last = batch.contexts[:, -1, :_COMPARED].copy()
        before = batch.contexts[:, -2, :_COMPARED] if length > 1 else np.full_like(last, np.nan)
        previous = np.full((1, last.shape[1]), np.nan, np.float32) if self._last is None else self._last
        self._begin.append((before != np.concatenate([previous, last[:-1]])).any(axis=1))
        self._last = last[-1:]

    def number(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each row's run; the runs are those of the batches so far."""
        begin = np.concatenate(self._begin)
        if begin.mean() > _MOST_BEGINNINGS:
            return rows // _STRETCH_ROWS
        return np.cumsum(begin, dtype=np.int64)[rows - (self._first_row or 0)]


def describe_contexts(contexts: NDArray[np.float32]) -> NDArray[np.float16]:
    """Describe contexts (n, length, dim), float16 (n, 34).

    The columns are the projection of the last vector, its norm, and its cosine with the vector before, which tells
    whether contexts are still in order and of one article; with a single vector it is 1.
    """
    last, before = contexts[:, -1].astype(np.float64), contexts[:, max(0, contexts.shape[1] - 2)]
    norms = np.linalg.norm(last, axis=1)
    products = np.einsum("nd,nd->n", last, before) / np.maximum(norms * np.linalg.norm(before, axis=1), 1e-30)
    return np.column_stack([project(last), _as_half(norms), _as_half(products)])


def project(vectors: NDArray[Any]) -> NDArray[np.float16]:
    """Return vectors (n, dim) projected at random, float16 (n, 32); norms stay about what they are.

    The projection is the same everywhere; random signs do for it (Achlioptas 2003).
    """
    return _as_half(vectors.astype(np.float64) @ _signs(vectors.shape[1]) / _WIDTH**0.5)


@cache
def _signs(dim: int) -> NDArray[np.float64]:
    """Return the signs of the projection, (dim, 32), from a hash, as random generators change over versions."""
    digest = hashlib.shake_256(b"lvm-batch row sample 1").digest(dim * _WIDTH // 8)
    bits = np.unpackbits(np.frombuffer(digest, np.uint8)).reshape(dim, _WIDTH)
    return bits.astype(np.float64) * 2 - 1


def _as_half(values: NDArray[Any]) -> NDArray[np.float16]:
    return np.asarray(np.clip(values, -_LARGEST, _LARGEST), np.float16)
