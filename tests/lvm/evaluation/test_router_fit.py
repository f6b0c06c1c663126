"""Tests of the fit of a router, on rows made so that the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_batch.lvm.evaluation.calibration import CalibrationRows
from lvm_batch.lvm.evaluation.router_features import RouterRows
from lvm_batch.lvm.evaluation.router_fit import FittedRouter, fit_router

N_ROWS, LENGTH, DIM = 3000, 3, 12


def unit(*shape: int, seed: int) -> np.ndarray:
    """Random unit vectors, float32."""
    vectors = np.random.default_rng(seed).standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


CONTEXTS, PREDICTIONS = unit(N_ROWS, LENGTH, DIM, seed=1), unit(N_ROWS, DIM, seed=2)
NOISE = 0.02 * np.random.default_rng(3).standard_normal(N_ROWS)
NEIGHBOURS = np.einsum("nd,nd->n", CONTEXTS[:, 1], CONTEXTS[:, 2]).astype(np.float64)
SIGNAL = 0.03 * NEIGHBOURS**2 + 0.02 * CONTEXTS[:, -1, 0] - 0.01 * PREDICTIONS[:, 1]


def fitted(gain: np.ndarray, *, anyway: np.ndarray | None = None, budget: float = 0.2) -> FittedRouter:
    """A router fitted to rows whose fallback gains ``gain``."""
    unknown = np.full(N_ROWS, np.nan, np.float32)
    rows = CalibrationRows(
        primary=np.full(N_ROWS, 0.6),
        fallback=0.6 + gain,
        confidence=unknown,
        margin=unknown,
        escalated_anyway=np.zeros(N_ROWS, np.bool_) if anyway is None else anyway,
        articles=np.arange(N_ROWS) // 50,
    )
    data = RouterRows.of(rows, PREDICTIONS, CONTEXTS)
    return fit_router(data, budget=budget, seed=0, resamples=200)


def test_a_router_finds_the_rows_that_gain() -> None:
    """Products of signals and the vectors themselves tell; fresh rows are expected to gain what they gain."""
    found = fitted(SIGNAL + NOISE)
    assert found.router is not None
    assert found.recovery.of_oracle is not None
    assert found.random is not None
    assert found.recovery.of_oracle > 2 * found.random
    assert found.recovery.escalated == pytest.approx(0.2, abs=0.001)
    contexts, predictions = unit(500, LENGTH, DIM, seed=11), unit(500, DIM, seed=12)
    neighbours = np.einsum("nd,nd->n", contexts[:, 1], contexts[:, 2])
    truth = 0.03 * neighbours**2 + 0.02 * contexts[:, -1, 0] - 0.01 * predictions[:, 1]
    expected = found.router.expected_gain(predictions, contexts)
    assert np.corrcoef(expected, truth)[0, 1] > 0.9
    assert found.router.escalates(expected).mean() == pytest.approx(0.2, abs=0.08)


def test_where_no_signal_tells_there_is_no_router() -> None:
    """Of gains that are noise around a mean, none is proposed, be the fallback better or worse on the whole."""
    for level in (0.005, -0.05):
        assert fitted(NOISE + level).router is None
    assert fitted(np.zeros(N_ROWS)).router is None


def test_no_row_is_escalated_that_is_expected_to_lose() -> None:
    """A threshold is positive, even if the budget is larger than the share of the rows that gain."""
    found = fitted(SIGNAL + NOISE, budget=0.9)
    assert found.router is not None
    assert 0 < found.router.threshold < 0.001
    assert found.recovery.escalated < 0.8


def test_a_router_gets_what_other_reasons_leave_of_the_budget() -> None:
    """Of a budget of 20 % lanes take 10 %; where they take all of it, the budget is a share of the other rows."""
    tenth = np.arange(N_ROWS) % 10 == 0
    found = fitted(SIGNAL + NOISE, anyway=tenth)
    assert found.share == pytest.approx(1 / 9)
    assert found.recovery.escalated == pytest.approx(1 / 9, abs=0.001)
    assert found.recovery_of_all.escalated == pytest.approx(0.2, abs=0.001)
    assert found.n_rows == 2700
    found = fitted(SIGNAL + NOISE, anyway=np.arange(N_ROWS) % 2 == 0)
    assert found.recovery.escalated == pytest.approx(0.2, abs=0.001)
    assert found.recovery_of_all.escalated == pytest.approx(0.6, abs=0.001)
    assert fitted(SIGNAL + NOISE, anyway=np.ones(N_ROWS, np.bool_)).router is None
    assert fitted(SIGNAL + NOISE, budget=0.0).router is None


def test_a_fit_follows_from_its_rows_and_its_seed() -> None:
    """The same rows and seed give the same figures."""
    one, other = fitted(SIGNAL + NOISE), fitted(SIGNAL + NOISE)
    assert (one.recovery, one.ahead, one.random) == (other.recovery, other.ahead, other.random)
