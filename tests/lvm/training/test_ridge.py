"""Tests of ridge regression from sums, and of the windows it is fitted to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvm_batch.lvm import ModelError
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.training.ridge import RidgeSums, fit_ridge
from lvm_batch.lvm.training.windows import Windows

LENGTH, DIM = 3, 6


def sample(n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Contexts, and targets that are a weighted, slightly rotated sum of them plus a constant."""
    rng = np.random.default_rng(seed)
    contexts = rng.standard_normal((n_rows, LENGTH, DIM))
    turn = np.random.default_rng(99).standard_normal((DIM, DIM)) * 0.3
    targets = contexts @ turn
    targets = 0.2 * contexts[:, 0] + 0.7 * contexts[:, 2] + targets.mean(axis=1) + 0.5
    return contexts.astype(np.float32), targets.astype(np.float32)


def sums_of(*parts: tuple[np.ndarray, np.ndarray]) -> RidgeSums:
    """The sums accumulated over several batches."""
    sums = RidgeSums(LENGTH, DIM)
    for contexts, targets in parts:
        sums.add(contexts, targets)
    return sums


def test_a_linear_relation_is_found() -> None:
    """Position weights, a linear map of the mean and a constant reproduce such targets almost exactly."""
    ridge = sums_of(sample(4000, 1)).solve(shrinkage=1e-6)
    contexts, targets = sample(200, 2)
    assert row_cosines(ridge(contexts), targets).min() > 0.9999


def test_the_map_is_ridge_regression_of_what_the_weights_leave() -> None:
    """The map equals the ridge solution over all rows in float64, for the residuals of the position weights."""
    contexts, targets = sample(300, 3)
    x, y = contexts.astype(np.float64), targets.astype(np.float64)
    x -= x.mean(axis=0)
    y -= y.mean(axis=0)
    weights = np.linalg.lstsq(x.transpose(0, 2, 1).reshape(-1, LENGTH), y.reshape(-1), rcond=None)[0]
    mean = x.mean(axis=1)
    squared_norm = float(np.square(contexts.astype(np.float64)).sum(axis=2).mean())
    gram = mean.T @ mean + 7 * squared_norm * np.eye(DIM)
    mapping = np.linalg.solve(gram, mean.T @ (y - np.einsum("nld,l->nd", x, weights)))
    solution = sums_of((contexts, targets)).solve(shrinkage=7)
    assert np.allclose(solution.weights, weights, atol=1e-4)
    assert np.allclose(solution.mapping, mapping, atol=1e-4)


def test_sums_can_be_subtracted() -> None:
    """Batch sizes do not matter, and subtracting sums equals never having added them."""
    first, second = sample(500, 1), sample(300, 2)
    alone = sums_of(first).solve()
    rest = (sums_of(first, second) - sums_of(second)).solve()
    contexts, _ = sample(50, 3)
    assert np.allclose(alone(contexts), rest(contexts), atol=1e-5)
    assert np.allclose(np.linalg.norm(rest(contexts), axis=1), 1, atol=1e-5)


def test_the_scale_of_the_vectors_is_free() -> None:
    """The penalty is relative to squared norms, so vectors ten times as long give the same predictions."""
    contexts, targets = sample(400, 1)
    plain = sums_of((contexts, targets)).solve()(contexts)
    scaled = sums_of((contexts * 10, targets * 10)).solve()(contexts * 10)
    assert np.allclose(plain, scaled, atol=1e-4)


def test_windows_read_twice_give_the_same_ridge_regression() -> None:
    """The fit to windows is the solution from their sums, whatever their mean; targets are made unit vectors."""
    contexts, targets = sample(2500, 1)
    windows = Windows.of(contexts + 3, targets)
    expected = RidgeSums(LENGTH, DIM)
    for part in windows.batches():
        expected.add(*part)
    solution, found = expected.solve(), fit_ridge(windows)
    assert np.allclose(found.weights, solution.weights, atol=1e-4)
    assert np.allclose(found.mapping, solution.mapping, atol=1e-5)
    assert np.allclose(found(contexts), solution(contexts), atol=1e-4)


def test_vectors_without_a_length_or_too_long_are_told_apart() -> None:
    """Vectors of zeros give a prediction without a direction; products that overflow are an error."""
    contexts, targets = sample(50, 1)
    assert not fit_ridge(Windows.of(contexts * 0, targets * 0))(contexts).any()
    with pytest.raises(ModelError, match="too long"):
        fit_ridge(Windows.of(contexts * 1e30, targets))


def test_no_windows_are_an_error() -> None:
    """No windows is an error of the data."""
    with pytest.raises(ModelError, match="no windows"):
        fit_ridge(Windows.of(*sample(0, 1)))
    with pytest.raises(ModelError, match="no windows"):
        RidgeSums(LENGTH, DIM).solve()


def test_windows_backwards_predict_what_came_before() -> None:
    """The context is read from its end, after the target; the first vector becomes the target."""
    contexts, targets = sample(4, 1)
    both = Windows.of(contexts, targets).in_both_directions()
    assert len(both) == 8
    read, targets_read = both.batch(np.array([1, 5]))
    assert torch.equal(read[0], torch.from_numpy(contexts[1]))
    assert torch.equal(read[1], torch.from_numpy(np.stack([targets[1], contexts[1, 2], contexts[1, 1]])))
    assert np.allclose(targets_read[1], contexts[1, 0] / np.linalg.norm(contexts[1, 0]), atol=1e-6)


def test_a_sample_is_taken_evenly() -> None:
    """The sample has at most the requested number of windows, from the first to near the last."""
    contexts, targets = sample(100, 1)
    sampled = Windows.of(contexts, targets).sample(30)
    assert len(sampled) == 25
    assert torch.equal(sampled[1], torch.from_numpy(contexts[4]))
