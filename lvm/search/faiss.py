"""Approximate search for the nearest vectors of a large bank, by an inverted file of the ``[faiss]`` extra.

The index holds codes of one or two bits a component, which select candidates; their scores are computed from the bank's
own vectors, which stay on disk. A bank may thus be larger than memory: the index is a thirtieth or a fifteenth of it.

The rule: the scores are exact; the candidates contain the nearest two for 99 % of the queries that the build tries.
faiss is imported on first use.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.errors import BankError, MissingExtra
from lvm_batch.lvm.search.bank_checks import check_bank
from lvm_batch.lvm.search.bank_index import BankIndex
from lvm_batch.lvm.search.exact import ExactIndex
from lvm_batch.lvm.search.reranking import best_of

if TYPE_CHECKING:
    from lvm_batch.lvm.search.neighbours import Floats, Neighbours, Places

FAISS_PAYS_FROM = 10_000
"""Bank size, in vectors, from which the speed of this search is worth the approximation.

Measured 2026-11-23 on one core of an AMD EPYC (Zen 4), 768 dimensions, 1,024 queries, faiss 1.15, torch 2.13: 3.5 times
the rate of the exact search at 12,000 vectors, 5.6 times at 30,000, 17 times at 100,000.
"""
RECALL = 0.99
_SAMPLE = 512  # queries that recall is measured on
_PULL = 0.75  # weight of the farther vector in such a query
_PER_LIST = 39  # vectors per list below which faiss warns about its clustering
_TRAIN_PER_LIST = 64  # more vectors do not improve the lists noticeably
_CANDIDATES = 32  # candidates scored exactly; 64 find no more (100,000 vectors of 768 dimensions)
_CANDIDATES_EACH = 4  # for each neighbour to find, if that is more
_PER_CODE = (4, 2)  # components per code; the second if the first is too coarse


def build_faiss_index(vectors: Floats) -> bytes:
    """Build an inverted file (inner product) over a bank float32 (m, dim) of unit rows, and return it as bytes.

    The number of lists to search is raised until the recall of the two nearest is at least ``RECALL`` on vectors
    between those of the bank, and stored in the index. If codes do not suffice for that, the index holds the vectors.
    Raises MissingExtra without faiss, BankError for a bank that is no matrix of unit vectors.
    """
    faiss = _faiss()
    check_bank(vectors)
    n_lists = max(1, min(round(2 * math.sqrt(len(vectors))), len(vectors) // _PER_LIST))
    queries = _between(vectors)
    exact = ExactIndex(vectors, torch.device("cpu")).top2(queries)
    for form in _forms(vectors):
        index = faiss.index_factory(vectors.shape[1], f"IVF{n_lists},{form}", faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:: max(1, len(vectors) // (n_lists * _TRAIN_PER_LIST))])
        index.add(vectors)
        if _fit_n_lists(index, vectors, queries, exact):
            break
    return bytes(faiss.serialize_index(index))


class FaissIndex(BankIndex):
    """An index that ``build_faiss_index`` made."""

    def __init__(
        self, data: bytes, vectors: Floats, *, name: str = "the bank", numbers: Places | None = None
    ) -> None:
        """Read the index of the bank ``vectors`` from its bytes; ``name`` is its name in errors.

        Raises MissingExtra without faiss, BankError if the bytes are not an index, or that of another bank.
        """
        faiss = _faiss()
        self._name = name
        try:
            self.index = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
        except (RuntimeError, MemoryError) as error:
            raise self._unusable("is damaged") from error
        if (self.index.ntotal, self.index.d) != vectors.shape:
            raise self._unusable("is of another bank")
        super().__init__(vectors, numbers)
        self._bank = as_tensor(vectors)

    def _candidates(self, queries: Floats, width: int) -> Neighbours:
        """Return the best candidates; raises BankError if the index returns a vector that the bank does not have."""
        places = _find_places(self.index, queries, width)
        if (places >= len(self._bank)).any():
            raise self._unusable("is damaged")
        return best_of(self._bank, queries, places, width)

    def _unusable(self, why: str) -> BankError:
        return BankError(f"{self._name}: the neighbour index {why}", "build the bank again")


def _find_places(index: Any, queries: Floats, width: int) -> Places:  # noqa: ANN401 - faiss has no types
    """Return candidates for the nearest ``width``, (n, c), searched on as many threads as torch uses."""
    _faiss().omp_set_num_threads(torch.get_num_threads())
    places: Places
    _, places = index.search(queries, min(max(_CANDIDATES, _CANDIDATES_EACH * width), max(1, index.ntotal)))
    return places


def _forms(vectors: Floats) -> list[str]:
    """Return faiss' names for the contents of lists, the smallest first: codes of four bits, or vectors."""
    dim = vectors.shape[1]
    spans = _PER_CODE if len(vectors) >= FAISS_PAYS_FROM else ()
    return [f"PQ{dim // span}x4fs" for span in spans if dim % span == 0] + ["Flat"]


def _fit_n_lists(index: Any, vectors: Floats, queries: Floats, exact: Floats) -> bool:  # noqa: ANN401
    """Raise the number of lists to search until the recall suffices; return False if all lists do not suffice."""
    bank = as_tensor(vectors)
    index.nprobe = index.nlist
    if _recall(_top2(index, bank, queries), exact) < RECALL:
        return False
    index.nprobe = 1
    while _recall(_top2(index, bank, queries), exact) < RECALL and index.nprobe < index.nlist:
        index.nprobe = min(index.nprobe + max(1, index.nprobe // 4), index.nlist)
    return True


def _top2(index: Any, bank: torch.Tensor, queries: Floats) -> Floats:  # noqa: ANN401
    return best_of(bank, queries, _find_places(index, queries, 2), 2).cosines


def _recall(found: Floats, exact: Floats) -> float:
    """Return the share of scores that equal the exact ones, to float32's rounding."""
    return float(np.isclose(found, exact, rtol=0, atol=1e-5, equal_nan=True).mean())


def _between(vectors: Floats) -> Floats:
    """Return unit vectors between two of the bank, nearer to one of them, like predictions; always the same ones."""
    sample = vectors[:: max(1, len(vectors) // _SAMPLE)][:_SAMPLE]
    moved = sample + np.float32(_PULL) * np.roll(sample, 1, axis=0)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True))


def _faiss() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise MissingExtra("faiss is not installed", 'pip install "lvm-batch[faiss]"') from error
