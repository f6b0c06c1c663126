"""A digest of the vectors that a model was trained on, small enough to travel in its checkpoint.

The rule: a vector is recognised whatever its scale and however it was stored. What the digest cannot tell is unknown,
never new. Needs no torch, so that a run's driver can read it.

A vector's key are the signs of 128 projections of its unit vector less the mean of the training vectors (Charikar 2002,
"Similarity estimation techniques from rounding algorithms"); the projections are random signs (Achlioptas 2003). Two
stored forms of a vector differ by an angle of 3e-4 where one is float16, which flips a sign of one in a hundred
vectors. So a question is asked twice: also with the sign flipped that is nearest to its border (Lv et al. 2007,
"Multi-probe LSH"). The keys are kept in a Bloom filter (Bloom 1970; Kirsch and Mitzenmacher 2006 for its hashes).
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import cache
from hashlib import shake_256
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.lvm.checkpoints.checkpoint_facts import plain_content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Rows = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]
    Told = npt.NDArray[np.int8]

SEEN, NEW, UNTOLD = 1, 0, -1
"""What the digest tells of a vector or a row."""

CONTENT_KEY = "lvm_batch_training_vectors"
"""The key of the digest in a checkpoint."""

FORMAT = 1

CAPACITY = 2**16
"""Vectors of which every one is kept, in 157 kB of text. Of more, about as many: those with the lowest hashes."""

_SIGNS = 128
_BITS, _HASHES = 14.4, 10  # for each vector: one of a thousand others is taken for one that was kept
_AT_ONCE = 8192  # vectors, 24 MiB of 768 components
_LONGEST = 2**18  # characters of a filter; how many vectors are kept varies with the hashes
_SMALLEST = 64


@dataclass(frozen=True, slots=True)
class TrainingVectors:
    """The digest of ``n_vectors`` distinct vectors.

    It keeps the ``share`` of them with the lowest hashes, in a Bloom filter ``bits``, uint8 (m,). ``mean`` is the mean
    of their unit vectors, float32 (dim,).
    """

    n_vectors: int
    share: float
    mean: Floats
    bits: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, vectors: Floats, rows: Rows | None = None) -> TrainingVectors:
        """Return the digest of vectors (n, dim), or of some ``rows`` of them, without those that have no direction."""
        rows = np.arange(len(vectors)) if rows is None else rows
        mean = _mean(vectors, rows)
        parts = [_keys(unit, mean)[0] for _, unit in _unit_parts(vectors, rows)]
        keys = np.unique(np.concatenate([np.empty((0, 2), np.uint64), *parts]), axis=0)
        share = min(1.0, CAPACITY / max(1, len(keys)))
        kept = keys[_is_kept(keys, share)]
        flags = np.zeros(_size(len(kept)), np.bool_)
        flags[_places(kept, len(flags))] = True
        return cls(len(keys), share, mean, np.packbits(flags))

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return len(self.mean)

    @property
    def false_positive_rate(self) -> float:
        """The probability that a new vector is taken for one that was trained on: of two questions to the filter."""
        filled = float(np.unpackbits(self.bits).mean())
        return 1 - (1 - filled**_HASHES) ** 2

    def tell(self, vectors: Floats) -> Told:
        """Return ``SEEN``, ``NEW`` or ``UNTOLD`` for each of vectors (n, dim), int8 (n,).

        A vector is ``UNTOLD`` if it has no direction, or is not among the share that the digest keeps.
        """
        told = np.full(len(vectors), UNTOLD, np.int8)
        for rows, unit in _unit_parts(vectors, np.arange(len(vectors))):
            own, nearby = _keys(unit, self.mean)
            told[rows] = np.where(_is_kept(own, self.share), NEW, UNTOLD)
            told[rows[self._holds(own) | self._holds(nearby)]] = SEEN
        return told

    def tell_rows(self, contexts: Floats, targets: Floats | None) -> Told:
        """Return what is known of rows: contexts (n, length, dim) and, if there are any, targets (n, dim); int8 (n,).

        A row is ``SEEN`` if the model was trained on its target, or on every vector of its context that the digest can
        tell. It is ``UNTOLD`` if the digest can tell none of its vectors.
        """
        of_contexts = self.tell(contexts.reshape(-1, self.dim)).reshape(contexts.shape[:2])
        of_targets = np.full(len(contexts), UNTOLD, np.int8) if targets is None else self.tell(targets)
        all_seen = (of_contexts != NEW).all(axis=1) & (of_contexts == SEEN).any(axis=1)
        nothing_told = (of_contexts == UNTOLD).all(axis=1) & (of_targets == UNTOLD)
        return np.select([(of_targets == SEEN) | all_seen, nothing_told], [SEEN, UNTOLD], NEW).astype(np.int8)

    def as_content(self) -> dict[str, Any]:
        """Return the digest as a checkpoint keeps it: numbers and texts, which every reader takes."""
        return {
            "format": FORMAT,
            "n_vectors": self.n_vectors,
            "share": self.share,
            "mean": b64encode(self.mean.astype("<f4").tobytes()).decode("ascii"),
            "bits": b64encode(self.bits.tobytes()).decode("ascii"),
        }

    @classmethod
    def from_content(cls, content: object) -> TrainingVectors | None:
        """Return the digest that a checkpoint keeps; None if it keeps none, or one of a later format.

        Raises ValueError if it is damaged.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            return None
        try:
            return cls(*_fields(content))
        except ValueError as error:
            raise ValueError("its digest of training vectors is damaged") from error

    def _holds(self, keys: Words) -> npt.NDArray[np.bool_]:
        places = _places(keys, 8 * len(self.bits))
        found = (self.bits[places >> 3] >> (7 - (places & 7)).astype(np.uint8)) & 1
        return np.asarray(found.all(axis=1) & _is_kept(keys, self.share))


def training_vectors_of(data: bytes, name: str) -> TrainingVectors | None:
    """Return the digest in a checkpoint's bytes; None if it has none that can be read without torch.

    Raises CheckpointError, naming the file ``name``, for a file that must not be loaded.
    """
    found = (plain_content(data, name) or {}).get(CONTENT_KEY)
    try:
        return TrainingVectors.from_content(found)
    except ValueError:  # loading the model says what is wrong
        return None


def _fields(content: Mapping[Any, Any]) -> tuple[int, float, Floats, npt.NDArray[np.uint8]]:
    """Return the fields of a stored digest; raises ValueError for values that none has."""
    n_vectors, share, mean, bits = (content.get(name) for name in ("n_vectors", "share", "mean", "bits"))
    if not (isinstance(n_vectors, int) and n_vectors >= 0 and isinstance(share, float) and 0 < share <= 1):
        raise ValueError("no number of vectors, or no share of them")
    if not (isinstance(mean, str) and isinstance(bits, str) and len(bits) <= _LONGEST):
        raise ValueError("no texts of a digest")
    values = np.frombuffer(b64decode(mean, validate=True), "<f4").astype(np.float32)
    filled = np.frombuffer(b64decode(bits, validate=True), np.uint8)
    if not (len(values) and np.isfinite(values).all() and len(filled)):
        raise ValueError("an empty digest")
    return n_vectors, share, values, filled


def _size(n_kept: int) -> int:
    """Return the bits of a filter for so many keys, whole bytes."""
    return 8 * max(_SMALLEST // 8, math.ceil(n_kept * _BITS / 8))


def _mean(vectors: Floats, rows: Rows) -> Floats:
    """Return the mean of unit vectors, float32 (dim,); zeros of none."""
    total, count = np.zeros(vectors.shape[1]), 0
    for numbers, unit in _unit_parts(vectors, rows):
        total += unit.sum(axis=0, dtype=np.float64)
        count += len(numbers)
    return np.asarray(total / max(1, count), np.float32)


def _unit_parts(vectors: Floats, rows: Rows) -> Iterator[tuple[Rows, Floats]]:
    """Yield those of the rows that have a direction, and their unit vectors, some at a time."""
    for start in range(0, len(rows), _AT_ONCE):
        numbers = rows[start : start + _AT_ONCE]
        some = np.asarray(vectors[numbers], np.float32)
        largest = np.abs(some).max(axis=1, initial=0.0)
        usable = np.isfinite(some).all(axis=1) & (largest > 0)
        scaled = some[usable] / largest[usable, None]  # no square overflows, nor vanishes
        yield numbers[usable], scaled / np.linalg.norm(scaled, axis=1, keepdims=True)


def _keys(unit: Floats, mean: Floats) -> tuple[Words, Words]:
    """Return the keys of unit vectors (n, dim), uint64 (n, 2): their own, and with the least certain sign flipped."""
    projected = (unit - mean) @ _projections(len(mean))  # (n, 128)
    signs = projected >= 0
    own = np.packbits(signs, axis=1).view("<u8").astype(np.uint64)
    each = np.arange(len(signs))
    weakest = np.abs(projected).argmin(axis=1)
    signs[each, weakest] = ~signs[each, weakest]
    return own, np.packbits(signs, axis=1).view("<u8").astype(np.uint64)


@cache
def _projections(dim: int) -> Floats:
    """Return random signs, float32 (dim, 128): the same ones everywhere, as digests are compared across versions."""
    stream = shake_256(b"lvm-batch training vectors 1").digest(dim * _SIGNS // 8)
    signs = np.unpackbits(np.frombuffer(stream, np.uint8)).reshape(dim, _SIGNS)
    return signs.astype(np.float32) * 2 - 1


def _is_kept(keys: Words, share: float) -> npt.NDArray[np.bool_]:
    """Return which keys are among the share with the lowest hashes: the same keys of training and of questions."""
    if share >= 1:
        return np.ones(len(keys), np.bool_)
    return _mixed(keys[:, 0] + _mixed(keys[:, 1])) < np.uint64(share * 2**64)


def _places(keys: Words, size: int) -> npt.NDArray[np.int64]:
    """Return the places of keys in a filter of ``size`` bits, int64 (n, 10): a + i·b, as Kirsch and Mitzenmacher."""
    first = _mixed(keys[:, 0] ^ _mixed(~keys[:, 1]))
    step = _mixed(keys[:, 1] ^ _mixed(~keys[:, 0])) | np.uint64(1)
    return ((first[:, None] + step[:, None] * np.arange(_HASHES, dtype=np.uint64)) % np.uint64(size)).astype(
        np.int64
    )


def _mixed(words: Words) -> Words:
    """Return words, uint64 (n,), with each bit spread over all of them: the end of SplitMix64 (Steele et al. 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
