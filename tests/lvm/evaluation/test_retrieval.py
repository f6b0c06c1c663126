"""Tests of the rank of the true next vector in a bank, against sorting the whole bank in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvm_batch.lvm import BankError
from lvm_batch.lvm.evaluation import retrieval
from lvm_batch.lvm.evaluation.retrieval import RankSearch, recall_curve, summarise_ranks

CPU = torch.device("cpu")
DIM = 24


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors with unit norms, float32."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def random_units(n_rows: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors, float32."""
    return unit(np.random.default_rng(seed).standard_normal((n_rows, DIM)))


def ranks_of(bank: np.ndarray, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The ranks that a search finds."""
    search = RankSearch(bank, CPU)
    return search.ranks(predictions, search.places(targets))


def plain_rank(bank: np.ndarray, prediction: np.ndarray, target: np.ndarray) -> int:
    """One plus the number of other vectors in the bank at least as close as the best copy of the target."""
    scores = bank.astype(np.float64) @ prediction.astype(np.float64)
    own = bank.astype(np.float64) @ target.astype(np.float64) > 0.9999
    return 1 + int((scores[~own] >= scores[own].max()).sum()) if own.any() else 0


@pytest.mark.parametrize("block", [1024, 7, 1])
@pytest.mark.parametrize("n_vectors", [1, 20, 50])
def test_ranks_are_those_of_the_sorted_bank(
    n_vectors: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks are exact for any block size, and for targets that the bank holds once, several times or not at all."""
    monkeypatch.setattr(retrieval, "_QUERIES", block)
    monkeypatch.setattr(retrieval, "_VECTORS", block)
    bank = random_units(n_vectors)
    bank[n_vectors // 2 :: 3] = bank[0]
    rng = np.random.default_rng(1)
    targets = np.concatenate([bank[rng.integers(0, n_vectors, 40)], random_units(5, seed=2)])
    predictions = unit(targets + 0.3 * rng.standard_normal(targets.shape))
    expected = [plain_rank(bank, *pair) for pair in zip(predictions, targets, strict=True)]
    assert ranks_of(bank, predictions, targets).tolist() == expected
    assert expected[-1] == 0


def test_ties_count_against_the_prediction() -> None:
    """If all vectors are equally close to a prediction, the target is last; a correct prediction ranks it first."""
    bank = np.eye(4, DIM, dtype=np.float32)
    undecided = unit(bank.sum(axis=0))[None]
    assert ranks_of(bank, undecided, bank[2:3]).tolist() == [4]
    assert ranks_of(bank, bank[2:3], bank[2:3]).tolist() == [1]


def test_a_target_is_recognised_after_float16_and_at_any_norm() -> None:
    """A target is found in a bank of rounded vectors, whatever its length."""
    targets = random_units(30)
    bank = unit(targets.astype(np.float16))
    assert ranks_of(bank, targets, 3 * targets).tolist() == [1] * 30


def test_a_nan_prediction_ranks_last() -> None:
    """A NaN prediction counts as the worst rank; it is neither left out nor ranked first."""
    bank = random_units(9)
    predictions = bank.copy()
    predictions[4, 3] = np.nan
    ranks = ranks_of(bank, predictions, bank)
    assert ranks[4] == 9
    assert (np.delete(ranks, 4) == 1).all()


def test_ranks_are_summarised_over_rows_whose_target_is_in_the_bank() -> None:
    """Recall, mean reciprocal rank and containment use only the rows whose target is in the bank."""
    summary = summarise_ranks(np.array([1, 0, 2, 7, 50, 51, 0]))
    assert (summary.n, summary.recall_at) == (5, {1: 1 / 5, 5: 2 / 5, 10: 3 / 5})
    assert summary.mrr == pytest.approx((1 + 1 / 2 + 1 / 7 + 1 / 50 + 1 / 51) / 5)
    assert summary.contain_at_50 == 4 / 5
    assert recall_curve(np.array([1, 0, 3]), [1, 2, 3]) == [1 / 2, 1 / 2, 1]


def test_without_a_target_in_the_bank_figures_are_none() -> None:
    """Without such rows the figures are None, not zero."""
    summary = summarise_ranks(np.zeros(4, np.int64))
    assert (summary.n, summary.recall_at, summary.mrr, summary.contain_at_50) == (0, None, None, None)


def test_another_dimension_is_refused() -> None:
    """Targets and predictions must have the bank's width."""
    search = RankSearch(random_units(5), CPU)
    with pytest.raises(BankError, match="dimension 24"):
        search.places(np.ones((2, DIM + 1), np.float32))
    with pytest.raises(BankError, match="dimension 24"):
        search.ranks(np.ones((2, DIM + 1), np.float32), search.places(random_units(2)))


@pytest.mark.parametrize("block", [1024, 3])
def test_a_rows_own_context_is_neither_ranked_nor_looked_for(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks are those in a bank without the row's context; a target that is also in it is not in that bank."""
    monkeypatch.setattr(retrieval, "_QUERIES", block)
    monkeypatch.setattr(retrieval, "_VECTORS", block)
    bank = random_units(30)
    bank[20] = bank[4]
    contexts = np.stack([bank[row : row + 5] for row in range(20)])  # windows that overlap
    targets = bank[5:25].copy()  # that of row 15 is a copy of bank[4]
    targets[7] = bank[9]  # which is in the context of row 7
    predictions = unit(contexts.mean(axis=1) + 0.2 * targets)
    expected = []
    for row, (context, prediction, target) in enumerate(zip(contexts, predictions, targets, strict=True)):
        foreign = bank[(bank @ context.T < 0.9999).all(axis=1)]
        expected.append(plain_rank(foreign, prediction, target))
        assert expected[-1] > 0 or row == 7
    search = RankSearch(bank, CPU)
    assert search.ranks(predictions, search.places(targets, 3 * contexts)).tolist() == expected
    assert (ranks_of(bank, predictions, targets) >= expected).all()
