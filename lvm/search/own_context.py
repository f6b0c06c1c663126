"""Which vectors of a bank are a row's own context.

A model predicts from its context, so a prediction lies near it: where the bank holds the dataset's own vectors, the
nearest neighbour of 84 % of AMN's predictions is one of the row's own context vectors, and says nothing of the
prediction (60 articles of Wikipedia, 2026-11-29).

The rule: a vector of the bank is a row's own if its cosine with one of the row's context vectors is 1 - 1e-4 or more.
That is more than float16 takes away (1e-7), and less than any two sentences differ by. A zero vector is nobody's own.
Where it is known which row of the data a vector of the bank was made from, that of a row of the context is its own too,
whatever the vector: a bank may have been encoded anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from lvm_batch.lvm.devices.arrays import as_tensor

if TYPE_CHECKING:
    from lvm_batch.lvm.search.neighbours import Flags, Floats, Places

    Rows = slice | Places

SAME_COSINE = np.float32(1 - 1e-4)
"""The cosine from which two vectors count as the same."""

_PAIRS = 448  # vectors of the bank compared at a time: 1.3 MiB, which stays in a core's cache
_LEAST, _MOST = 1e-30, 1e30  # squares of norms that float32 products keep exact

_GLANCE = 32  # components that are looked at first: two lines of a processor's cache
_FARTHEST = (
    2.3e-3  # squared distance of a vector, of a norm up to 1.001, from the line of one that it is the same as
)


@dataclass(frozen=True, slots=True)
class OwnVectors:
    """What n queries were predicted from.

    ``contexts`` is float32 (n, length, dim) of any norm. ``numbers`` is int64 (n, length), the number of the row of the
    data that each of these vectors is from, in the numbering of the bank, negative if the bank has none of that row;
    ``None`` if rows are not known.
    """

    contexts: Floats
    numbers: Places | None = None

    @property
    def length(self) -> int:
        """The vectors of a context."""
        return int(self.contexts.shape[1])

    def __getitem__(self, rows: Rows) -> OwnVectors:
        """Return those of some of the queries."""
        return OwnVectors(self.contexts[rows], None if self.numbers is None else self.numbers[rows])


class OwnContextFilter:
    """Tells which candidates do not count, looking at few of their components if possible."""

    def __init__(self, vectors: Floats, numbers: Places | None) -> None:
        """Take a bank, float32 (m, dim) of unit norm, and the rows that its vectors are from, int64 (m,), if known."""
        self._vectors = vectors
        self._numbers = numbers
        self._seen = _most_varied(vectors)

    def counting(self, places: Places, own: OwnVectors, k: int) -> Flags:
        """Tell which of each row's candidates are the first ``k`` that are no own context vectors, bool (n, width).

        ``places`` is int64 (n, width), row numbers of the bank in the order of their scores, negative for none.
        """
        there = places >= 0
        if self._numbers is not None and own.numbers is not None:
            there &= ~has_number(self._numbers[places], own.numbers)
        alike = self._alike(places, own.contexts) & there[:, :, np.newaxis]
        foreign = there & ~alike.any(axis=2)
        needed = np.cumsum(foreign, axis=1) < k  # what comes later is not among the first k, whatever it is
        rows, columns, vectors = np.nonzero(alike & needed[:, :, np.newaxis])
        same = self._same(places[rows, columns], own.contexts, rows, vectors)
        doubtful = alike.any(axis=2) & needed
        doubtful[rows[same], columns[same]] = False
        counting = foreign | doubtful
        return counting & (np.cumsum(counting, axis=1) <= k)

    def _alike(self, places: Places, contexts: Floats) -> Flags:
        """Tell which vectors of each context a candidate may be the same as, bool (n, width, length).

        The part of a candidate is no farther from the line of a vector's part than the whole is from the whole line.
        """
        some = as_tensor(contexts[:, :, self._seen])  # (n, length, part)
        near = torch.from_numpy(self._vectors[:, self._seen][places])  # (n, width, part)
        products = torch.bmm(near, some.transpose(1, 2))  # (n, width, length)
        squares = (some * some).sum(dim=2).unsqueeze(1)  # (n, 1, length)
        floor = ((near * near).sum(dim=2) - _FARTHEST).unsqueeze(2)  # (n, width, 1)
        measured = (squares > _LEAST) & (squares < _MOST)
        apart = (products * products < squares * floor) & measured
        flags: Flags = (~apart).numpy()
        return flags

    def _same(self, places: Places, contexts: Floats, rows: Places, vectors: Places) -> Flags:
        """Tell which pairs of a vector of the bank and one of a context are the same, bool (p,)."""
        same = np.empty(len(places), np.bool_)
        flat, dim = contexts.reshape(-1, contexts.shape[2]), contexts.shape[2]
        chosen = rows * contexts.shape[1] + vectors
        for start in range(0, len(places), _PAIRS):
            part = slice(start, start + _PAIRS)
            bounded, norms = _measured(flat.take(chosen[part], axis=0).reshape(-1, 1, dim))
            with np.errstate(invalid="ignore", over="ignore"):
                products = np.einsum("pd,pd->p", self._vectors[places[part]], bounded[:, 0])
                same[part] = (products >= SAME_COSINE * norms[:, 0]) & (norms[:, 0] > 0)
        return same


def has_number(numbers: Places, own: Places) -> Flags:
    """Tell which of some numbers (n, width) are among each row's own (n, length), bool (n, width)."""
    flags: Flags = ((numbers[:, :, np.newaxis] == own[:, np.newaxis]) & (own >= 0)[:, np.newaxis]).any(axis=2)
    return flags


def unit_contexts(contexts: Floats) -> Floats:
    """Return contexts (n, length, dim) scaled to unit norm; a vector without a direction becomes zeros."""
    bounded, norms = _measured(contexts)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = bounded / norms[:, :, np.newaxis]
    return np.where(np.isfinite(unit), unit, np.float32(0))


def _most_varied(vectors: Floats) -> slice:
    """Return adjacent components in which vectors of a bank differ most."""
    some = np.asarray(vectors[:1024])
    if not len(some):
        return slice(0, _GLANCE)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a damaged bank holds any number; each choice is right
        varied = np.add.reduceat(some.var(axis=0), np.arange(0, some.shape[1], _GLANCE))
    first = int(np.argmax(varied)) * _GLANCE
    return slice(first, first + _GLANCE)


def _measured(contexts: Floats) -> tuple[Floats, Floats]:
    """Return contexts and their norms (n, length); vectors whose squares float32 cannot hold are scaled first."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nld,nld->nl", contexts, contexts)
    odd = ~((squares > _LEAST) & (squares < _MOST))
    if odd.any():
        contexts = contexts.copy()
        contexts[odd] = _scaled(contexts[odd])
        squares[odd] = np.einsum("nd,nd->n", contexts[odd], contexts[odd])
    return contexts, np.sqrt(squares)


def _scaled(vectors: Floats) -> Floats:
    """Return vectors (n, dim) divided by their largest component; those without a direction become zeros."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = vectors / np.abs(vectors).max(axis=1, keepdims=True)
    return np.where(np.isfinite(scaled).all(axis=1, keepdims=True), scaled, np.float32(0))
