"""Tests of neighbour search, exact and with faiss, against brute force in NumPy; shared tests where both must agree."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from support.datasets import vectors

from lvm_batch.lvm import BankError, ExactIndex, MissingExtra
from lvm_batch.lvm.search import exact, faiss, screened
from lvm_batch.lvm.search.faiss import FaissIndex, build_faiss_index
from lvm_batch.lvm.search.reranking import best_of
from lvm_batch.lvm.search.screened import ScreenedIndex

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
DIM = 32
INDEXES = ["exact", "screened", "faiss"]


def unit_rows(n_rows: int, *, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Random unit vectors, float32."""
    rows = np.random.default_rng(seed).standard_normal((n_rows, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute_force(bank: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The two highest cosines, all of them computed and sorted in float64; NaN if there are fewer."""
    scores = -np.sort(-(queries.astype(np.float64) @ bank.astype(np.float64).T), axis=1)[:, :2]
    return np.pad(scores, ((0, 0), (0, 2 - scores.shape[1])), constant_values=np.nan)


def index_of(kind: str, bank: np.ndarray) -> ExactIndex | ScreenedIndex | FaissIndex:
    """An index of this kind over a bank; skips if faiss is not installed."""
    if kind == "exact":
        return ExactIndex(bank, CPU)
    if kind == "screened":
        return ScreenedIndex(bank, CPU)
    import_faiss()
    return FaissIndex(build_faiss_index(bank), bank)


def import_faiss() -> None:
    """Import faiss, or skip the test visibly."""
    pytest.importorskip("faiss", reason='needs pip install "lvm-batch[faiss]"')


@pytest.mark.parametrize(
    ("n_vectors", "n_queries"),
    [
        *((n_vectors, 1030) for n_vectors in (0, 1, 2, 3, 1023, 1024, 1025, 2500)),
        *((1025, n_queries) for n_queries in (0, 1, 1024)),
    ],
)
def test_exact_search_equals_brute_force(n_vectors: int, n_queries: int) -> None:
    """The result is exact for bank sizes near the block size, and for query counts near theirs."""
    bank, queries = unit_rows(n_vectors), unit_rows(n_queries, seed=1)
    nearest = ExactIndex(bank, CPU).top2(queries)
    assert nearest.dtype == np.float32
    np.testing.assert_allclose(nearest, brute_force(bank, queries), atol=1e-6)


@pytest.mark.parametrize("kind", INDEXES)
def test_a_bank_of_one_has_no_second_nearest(kind: str) -> None:
    """With one vector the margin is unknown, not large."""
    nearest = index_of(kind, unit_rows(1)).top2(unit_rows(4, seed=1))
    assert np.isfinite(nearest[:, 0]).all()
    assert np.isnan(nearest[:, 1]).all()


@pytest.mark.parametrize("kind", INDEXES)
def test_a_duplicate_vector_leaves_no_margin(kind: str) -> None:
    """Duplicates in different blocks count as two neighbours."""
    bank = unit_rows(2500)
    bank[2400] = bank[3]
    nearest = index_of(kind, bank).top2(bank[[3]])
    assert nearest[0] == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", INDEXES)
def test_a_query_that_is_not_finite_gets_nan(kind: str, value: float) -> None:
    """A NaN or infinite query gives NaN and does not affect the others."""
    bank, queries = unit_rows(500), unit_rows(6, seed=1)
    expected = brute_force(bank, queries)
    queries[1, 3] = value
    nearest = index_of(kind, bank).top2(queries)
    assert np.isnan(nearest[1]).all()
    assert nearest[[0, 2, 3, 4, 5], 0] == pytest.approx(expected[[0, 2, 3, 4, 5], 0], abs=0.2)
    assert np.isfinite(nearest[[0, 2, 3, 4, 5]]).all()


@pytest.mark.parametrize("kind", INDEXES)
def test_queries_of_another_dimension_are_refused(kind: str) -> None:
    """The error gives both dimensions."""
    with pytest.raises(BankError, match=r"dimension 32 cannot be searched with vectors of shape \(3, 31\)"):
        index_of(kind, unit_rows(50)).top2(unit_rows(3, dim=31))


@pytest.mark.parametrize("row", [0, 1200])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 2.0])
def test_a_bank_of_other_than_unit_vectors_is_refused(row: int, value: float) -> None:
    """The first vector that is not of unit norm is named, so that no cosine is above 1 or NaN."""
    bank = unit_rows(1300)
    bank[row] = value
    with pytest.raises(BankError, match=f"vector {row} of the bank"):
        ExactIndex(bank, CPU)
    with pytest.raises(BankError, match="a bank of shape"):
        ExactIndex(bank[0], CPU)


def test_a_bank_may_be_a_memory_map(tmp_path: Path) -> None:
    """A memory-mapped bank is searched without a copy."""
    np.save(tmp_path / "bank.npy", unit_rows(1100))
    nearest = ExactIndex(np.load(tmp_path / "bank.npy", mmap_mode="r"), CPU).top2(unit_rows(5, seed=1))
    np.testing.assert_allclose(nearest, brute_force(unit_rows(1100), unit_rows(5, seed=1)), atol=1e-6)


def test_a_bank_of_float16_vectors_is_of_unit_norm() -> None:
    """Unit vectors stored in half precision are accepted as unit vectors."""
    ExactIndex(unit_rows(100).astype(np.float16).astype(np.float32), CPU)


def test_no_more_than_a_block_of_scores_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """No score matrix exceeds one block, however large the bank and the queries are."""
    monkeypatch.setattr(exact, "_QUERIES", 64)
    monkeypatch.setattr(exact, "_VECTORS", 128)
    sizes: list[int] = []
    mm = torch.mm

    def measured(*matrices: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        sizes.append(out.numel())
        return mm(*matrices, out=out)

    monkeypatch.setattr(torch, "mm", measured)
    bank, queries = unit_rows(1000), unit_rows(300, seed=1)
    np.testing.assert_allclose(ExactIndex(bank, CPU).top2(queries), brute_force(bank, queries), atol=1e-6)
    assert max(sizes) == 64 * 128
    assert sum(sizes) == 1000 * 300


@pytest.mark.parametrize("free_bytes", [None, 0])
@pytest.mark.parametrize("n_vectors", [0, 1, 2, 15, 16, 17, 255, 256, 257, 900])
def test_screened_search_equals_brute_force(
    n_vectors: int, free_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is exact whether the device holds the bank or gets it in blocks, for sizes near the block size."""
    monkeypatch.setattr(screened, "_QUERIES", 64)
    monkeypatch.setattr(screened, "_VECTORS", 256)
    bank, queries = unit_rows(n_vectors, dim=768), unit_rows(130, seed=1, dim=768)
    index = ScreenedIndex(bank, CPU, free_bytes=free_bytes)
    assert (index._resident is not None) == (free_bytes is None or n_vectors == 0)
    nearest = index.top2(queries)
    np.testing.assert_allclose(nearest[:, 0], brute_force(bank, queries)[:, 0], atol=1e-6)
    assert np.isclose(nearest, brute_force(bank, queries), atol=1e-6, equal_nan=True).mean() > 0.999


def test_screened_search_is_exact_on_text() -> None:
    """On Wikipedia vectors the two nearest equal float32's for at least 99.9 % of predictions."""
    bank = vectors().astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    queries = sum(np.roll(bank, place, axis=0) for place in range(5))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact, screened = ExactIndex(bank, CPU).top2(queries), ScreenedIndex(bank, CPU).top2(queries)
    assert np.isclose(exact, screened, rtol=0, atol=1e-5).all(axis=1).mean() >= 0.999


def clustered(n_rows: int, *, seed: int) -> np.ndarray:
    """Unit vectors in 50 loose clusters, like vectors of text."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((50, DIM), dtype=np.float32)
    rows = centres[rng.integers(0, 50, n_rows)] + rng.standard_normal((n_rows, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_faiss_finds_nearly_all_and_scores_them_exactly() -> None:
    """Recall is 0.97 on vectors like the bank's, no score exceeds the exact one, and only some lists are searched."""
    import_faiss()
    bank, queries = clustered(6000, seed=1), clustered(500, seed=2)
    index = FaissIndex(build_faiss_index(bank), bank)
    nearest, exact = index.top2(queries), brute_force(bank, queries)
    assert np.isclose(nearest, exact, atol=1e-5).mean() > 0.97
    assert (nearest <= exact + 1e-5).all()
    assert 1 < index.index.nprobe < index.index.nlist


def test_a_faiss_index_is_built_the_same_twice() -> None:
    """The index digest is part of a job's identity, so building must be deterministic."""
    import_faiss()
    assert build_faiss_index(clustered(500, seed=1)) == build_faiss_index(clustered(500, seed=1))


def test_a_large_bank_is_searched_by_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index takes a fraction of the bank's size, is deterministic, and rescores its candidates exactly."""
    import_faiss()
    monkeypatch.setattr(faiss, "FAISS_PAYS_FROM", 1500)
    bank = vectors()[:1500].astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    queries = bank[:300] + np.roll(bank[:300], 1, axis=0) / 2
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    data = build_faiss_index(bank)
    assert len(data) < bank.nbytes / 5
    assert data == build_faiss_index(bank)
    nearest, exact = FaissIndex(data, bank).top2(queries), brute_force(bank, queries)
    assert np.isclose(nearest, exact, atol=1e-5).mean() > 0.95
    assert (nearest <= exact + 1e-5).all()


def test_if_codes_do_not_suffice_the_index_holds_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors without structure need full vectors in the index; the recall is still reached."""
    import_faiss()
    monkeypatch.setattr(faiss, "FAISS_PAYS_FROM", 2000)
    monkeypatch.setattr(faiss, "_CANDIDATES", 2)
    bank, queries = unit_rows(2000), unit_rows(100, seed=1)
    index = FaissIndex(build_faiss_index(bank), bank)
    assert "PQ" not in type(index.index).__name__
    assert np.isclose(index.top2(queries), brute_force(bank, queries), atol=1e-5).mean() > 0.95


def test_an_index_of_another_bank_is_refused() -> None:
    """Its positions would refer to other vectors."""
    import_faiss()
    data = build_faiss_index(unit_rows(60))
    with pytest.raises(BankError, match="of another bank"):
        FaissIndex(data, unit_rows(61))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_candidates_are_scored_by_their_own_vectors(k: int) -> None:
    """Negative positions are ignored; fewer than two give NaN."""
    bank, queries = unit_rows(50), unit_rows(130, seed=1)
    places = np.random.default_rng(2).integers(-1, 50, (130, k))
    nearest = best_of(torch.from_numpy(bank), queries, places, 2)
    for row, query in enumerate(queries):
        scores = np.full(2, np.nan)
        exact_scores = np.sort(bank[places[row][places[row] >= 0]] @ query)[::-1][:2]
        scores[: len(exact_scores)] = exact_scores
        np.testing.assert_allclose(nearest.cosines[row], scores, atol=1e-6)
        assert ((nearest.places[row] < 0) == np.isnan(scores)).all()


@pytest.mark.parametrize("data", [b"", b"not an index", b"IwFl" + bytes(100)])
def test_a_damaged_faiss_index_is_refused(data: bytes) -> None:
    """Bytes that are not an index are an error that says so."""
    import_faiss()
    with pytest.raises(BankError, match="index is damaged"):
        FaissIndex(data, unit_rows(3))


def test_an_index_that_returns_invalid_positions_is_damaged() -> None:
    """Only a search reveals this damage; the error still names the bank."""
    import_faiss()
    bank = unit_rows(60)
    index = FaissIndex(build_faiss_index(bank), bank, name="my/bank")
    index._bank = index._bank[:3]
    with pytest.raises(BankError, match="my/bank: the neighbour index is damaged"):
        index.top2(unit_rows(9, seed=1))


def test_without_faiss_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building and opening an index name the missing extra."""
    monkeypatch.setitem(sys.modules, "faiss", None)
    for use in (lambda: build_faiss_index(unit_rows(3)), lambda: FaissIndex(b"", unit_rows(3))):
        with pytest.raises(MissingExtra) as caught:
            use()
        assert caught.value.hint == 'pip install "lvm-batch[faiss]"'
