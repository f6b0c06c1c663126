"""Tests that a row's own context does not count as a neighbour, by brute force, for every kind of search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from lvm_batch.lvm import ExactIndex
from lvm_batch.lvm.search import bank_index
from lvm_batch.lvm.search.faiss import FaissIndex, build_faiss_index
from lvm_batch.lvm.search.neighbours import SPARE
from lvm_batch.lvm.search.own_context import OwnVectors
from lvm_batch.lvm.search.screened import ScreenedIndex

if TYPE_CHECKING:
    from lvm_batch.lvm.search.bank_index import BankIndex
    from lvm_batch.lvm.search.neighbours import Neighbours

CPU = torch.device("cpu")
DIM = 32
LENGTH = 5
KINDS = ["exact", "screened", "faiss"]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors with unit norms, float32."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def random_units(*shape: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors, float32."""
    return unit(np.random.default_rng(seed).standard_normal((*shape, DIM)))


def index_of(kind: str, bank: np.ndarray, numbers: np.ndarray | None = None) -> BankIndex:
    """An index of this kind over a bank; skips if faiss is not installed."""
    if kind == "exact":
        return ExactIndex(bank, CPU, numbers=numbers)
    if kind == "screened":
        return ScreenedIndex(bank, CPU, numbers=numbers)
    pytest.importorskip("faiss", reason='needs pip install "lvm-batch[faiss]"')
    return FaissIndex(build_faiss_index(bank), bank, numbers=numbers)


def brute_force(bank: np.ndarray, queries: np.ndarray, contexts: np.ndarray, k: int) -> np.ndarray:
    """The highest cosines with the vectors that are of no own context, all computed in float64; NaN where fewer."""
    best = np.full((len(queries), k), np.nan)
    for row, (query, context) in enumerate(zip(queries, contexts.astype(np.float64), strict=True)):
        norms = np.linalg.norm(context, axis=1, keepdims=True)
        directions = np.divide(context, norms, out=np.zeros_like(context), where=norms > 0)
        foreign = (bank.astype(np.float64) @ directions.T < 1 - 1e-4).all(axis=1)
        scores = -np.sort(-(bank[foreign].astype(np.float64) @ query.astype(np.float64)))[:k]
        best[row, : len(scores)] = scores
    return best


def windows(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Contexts (n, 5, dim) of vectors that are alike within a row, and predictions near their means."""
    contexts = unit(random_units(n_rows, LENGTH, seed=1) + random_units(n_rows, 1, seed=5))
    return contexts, unit(contexts.mean(axis=1) + 0.1 * random_units(n_rows, seed=2))


@pytest.mark.parametrize("n_copies", [1, 2, 30, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_the_own_context_does_not_count_however_often_the_bank_holds_it(kind: str, n_copies: int) -> None:
    """Confidence and margin are about other vectors, also if the nearest thousand are the row's own."""
    contexts, predictions = windows(4)
    own = np.repeat(contexts.reshape(-1, DIM), n_copies, axis=0)
    bank = np.concatenate([random_units(600, seed=3), own])[
        np.random.default_rng(0).permutation(600 + len(own))
    ]
    expected = brute_force(bank, predictions, contexts, 2)
    found = index_of(kind, bank).top2(predictions, OwnVectors(contexts))
    assert (brute_force(bank, predictions, 0 * contexts, 1)[:, 0] > expected[:, 0] + 0.1).all()
    np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=1e-6 if kind == "exact" else 0.1)
    if kind == "exact":
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found <= expected + 1e-5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_bank_of_nothing_else_gives_no_neighbour(kind: str) -> None:
    """A row with one foreign vector has a confidence and no margin, a row with none has neither."""
    contexts, predictions = windows(2)
    bank = contexts[0]
    found = index_of(kind, bank).top2(predictions, OwnVectors(np.stack([contexts[0], contexts[1]])))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    one_more = index_of(kind, np.concatenate([bank, contexts[1, :1]])).top2(
        predictions[:1], OwnVectors(contexts[:1])
    )
    assert np.isfinite(one_more[0, 0])
    assert np.isnan(one_more[0, 1])


def test_a_damaged_vector_is_no_error_of_the_filter() -> None:
    """Behind an index of faiss, norms are not checked: squares may be more than float32 holds, and own do not count."""
    pytest.importorskip("faiss", reason='needs pip install "lvm-batch[faiss]"')
    contexts, predictions = windows(1)
    bank = np.concatenate([random_units(50, seed=3), contexts[0], -predictions])
    index = build_faiss_index(bank)
    expected = brute_force(bank, predictions, contexts, 2)
    bank[-1] *= 1e25
    found = FaissIndex(index, bank).top2(predictions, OwnVectors(contexts))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("angle", "is_own"), [(0.0137, True), (0.0145, False)])
def test_a_vector_is_own_up_to_a_cosine_of_1e_4_less_than_one(angle: float, *, is_own: bool) -> None:
    """Below, cos 0.0137 is 1 - 0.94e-4, cos 0.0145 is 1 - 1.05e-4; the norm of the context does not matter."""
    contexts, predictions = windows(1)
    aside = random_units(1, seed=4)[0]
    aside = unit(aside - (aside @ contexts[0, 2]) * contexts[0, 2])
    near = unit(np.cos(angle) * contexts[0, 2] + np.sin(angle) * aside)
    found = ExactIndex(near[np.newaxis], CPU).top2(predictions, OwnVectors(7 * contexts))
    assert np.isnan(found[0, 0]) == is_own


@pytest.mark.parametrize("n_copies", [1, 4, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_of_the_rows_own_data_does_not_count_whatever_it_is(kind: str, n_copies: int) -> None:
    """Encoded anew, it is no vector of the context; the numbers of the rows that both are from tell. -1 is no row."""
    contexts, predictions = windows(4)
    anew = unit(contexts + 0.05 * random_units(*contexts.shape[:2], seed=6)).reshape(-1, DIM)
    bank = np.concatenate([random_units(600, seed=3), np.repeat(anew, n_copies, axis=0)])
    numbers = np.concatenate([np.full(600, -1), np.repeat(np.arange(len(anew)), n_copies)])
    own = np.arange(len(anew)).reshape(contexts.shape[:2])
    index = index_of(kind, bank, numbers)
    foreign = [bank[~np.isin(numbers, row)] for row in own]
    nothing = np.zeros((1, 1, DIM))
    expected = [
        brute_force(*each, nothing, 1)[0, 0] for each in zip(foreign, predictions[:, None], strict=True)
    ]
    found = index.top2(predictions, OwnVectors(contexts, own))
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6 if kind == "exact" else 0.1)
    assert (found[:, 0] <= np.array(expected) + 1e-5).all()
    for unknown in (OwnVectors(contexts), OwnVectors(contexts, np.full_like(own, -1))):
        assert (index.top2(predictions, unknown)[:, 0] > found[:, 0] + 0.05).all()
    alone = index_of("exact", anew, np.zeros(len(anew), np.int64)).top2(
        predictions, OwnVectors(contexts, 0 * own)
    )
    assert np.isnan(alone).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_contexts_of_any_norm_are_recognised(scale: float) -> None:
    """Also those whose squares float32 cannot hold; zeros, which pad a context, are nobody's own."""
    contexts, predictions = windows(3)
    bank = np.concatenate([contexts[0], random_units(20, seed=3)])
    expected = ExactIndex(bank, CPU).top2(predictions, OwnVectors(contexts))
    np.testing.assert_allclose(
        ExactIndex(bank, CPU).top2(predictions, OwnVectors(np.float32(scale) * contexts)), expected
    )
    padded = contexts.copy()
    padded[:, :2] = 0
    np.testing.assert_allclose(
        ExactIndex(bank, CPU).top2(predictions, OwnVectors(padded)),
        brute_force(bank, predictions, padded, 2),
        atol=1e-6,
    )


def test_the_search_widens_before_it_compares_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row with a few more copies of its context than it has vectors costs a second look, not a whole comparison."""

    def never(*_: object) -> Neighbours:
        raise AssertionError("compared with everything")

    monkeypatch.setattr(bank_index, "search_all", never)
    contexts, predictions = windows(1)
    bank = np.concatenate([np.repeat(contexts[0], 4, axis=0), random_units(600, seed=3)])
    found = ExactIndex(bank, CPU).top2(predictions, OwnVectors(contexts))
    np.testing.assert_allclose(found, brute_force(bank, predictions, contexts, 2), atol=1e-6)
    with pytest.raises(AssertionError, match="everything"):
        ExactIndex(np.repeat(bank, 30, axis=0), CPU).top2(predictions, OwnVectors(contexts))


@pytest.mark.parametrize("k", [1, 2, 7, 40, 200])
def test_the_nearest_k_are_those_of_the_sorted_bank(k: int) -> None:
    """Places and cosines are exact for any k and for a bank of several blocks; where the bank ends, nothing follows."""
    bank, queries = random_units(2500), random_units(1030, seed=1)
    found = ExactIndex(bank, CPU).nearest(queries, k)
    order = np.argsort(-(queries @ bank.T), axis=1, kind="stable")[:, :k]
    assert (found.places == order).mean() > 0.999
    np.testing.assert_allclose(
        found.cosines, brute_force(bank, queries, np.zeros((1030, 1, DIM)), k), atol=1e-6
    )
    few = ExactIndex(bank[:3], CPU).nearest(queries[:2], 5)
    assert (few.places[:, 3:] == -1).all()
    assert np.isnan(few.cosines[:, 3:]).all()


@pytest.mark.parametrize("n_copies", [3, 30, 150])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_neighbours_stand_in_the_order_of_the_bank(kind: str, n_copies: int) -> None:
    """Of copies the first of the bank are taken, however many there are, and wherever they stand in it."""
    bank = np.tile(random_units(40, seed=3), (n_copies, 1))[:: -1 if n_copies == 3 else 1].copy()
    contexts, predictions = windows(20)
    index = index_of(kind, bank)
    k = 10
    own = OwnVectors(contexts)
    ranked = index.ranked(predictions, index.nearest(predictions, k + SPARE, own), k, own)
    first = np.unique(bank, axis=0, return_inverse=True)[1].ravel()
    scores = np.round(predictions @ bank.T, 5)
    for row in range(len(predictions)):
        places = ranked.places[row]
        assert (np.diff(places)[first[places][1:] == first[places][:-1]] > 0).all()
        if n_copies <= 64 and kind != "faiss":  # of more copies, those that the search found
            assert places.tolist() == np.argsort(-scores[row], kind="stable")[:k].tolist()
        np.testing.assert_allclose(ranked.cosines[row], bank[places] @ predictions[row], atol=1e-6)
