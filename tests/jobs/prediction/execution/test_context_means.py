"""Tests of how well the mean of a context predicts: few rows of a batch are measured, and only those that count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_batch.io.schema import BAD_INPUT, OK
from lvm_batch.jobs.prediction.execution.context_means import MEASURED_ROWS, context_cosines
from lvm_batch.lvm.inference.cosines import row_cosines


def batch(n_rows: int, *, has_targets: bool = True, **changes: Any) -> Any:  # noqa: ANN401 - as much of a batch as is read
    """A batch of random vectors, with these parts changed."""
    rng = np.random.default_rng(n_rows)
    parts = {
        "n_rows": n_rows,
        "status": np.full(n_rows, OK, np.int8),
        "contexts": rng.standard_normal((n_rows, 5, 3)).astype(np.float32),
        "targets": rng.standard_normal((n_rows, 3)).astype(np.float32) if has_targets else None,
    }
    return cast("Any", SimpleNamespace(**parts | changes))


@settings(deadline=None)
@given(st.integers(0, 3000))
def test_few_rows_are_measured_and_each_as_the_plain_computation_does(n_rows: int) -> None:
    """At most ``MEASURED_ROWS`` rows, evenly spread, have a cosine: that of the context's mean with the target."""
    given_batch = batch(n_rows)
    found = context_cosines(given_batch)
    measured = np.flatnonzero(~np.isnan(found))
    assert min(n_rows, MEASURED_ROWS) // 2 <= len(measured) <= MEASURED_ROWS
    assert len(set(np.diff(measured).tolist())) <= 1
    means = given_batch.contexts.mean(axis=1)
    assert found[measured] == pytest.approx(row_cosines(means, given_batch.targets)[measured], abs=1e-5)


def test_rows_that_are_not_ok_or_have_no_target_are_not_measured() -> None:
    """A bad row, a row without a target and a batch without targets have no cosine."""
    assert np.isnan(context_cosines(batch(40, has_targets=False))).all()
    assert np.isnan(context_cosines(batch(40, status=np.full(40, BAD_INPUT, np.int8)))).all()
    assert np.isnan(context_cosines(batch(40, targets=np.full((40, 3), np.nan, np.float32)))).all()
