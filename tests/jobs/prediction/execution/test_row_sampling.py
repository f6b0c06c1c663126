"""Rows that a run samples for the history: spread over all its rows, with their article, vectors and judgements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.datasets import read_rows, windows, write_windows

from lvm_batch.io.errors import DataError
from lvm_batch.io.history.history import read_history
from lvm_batch.io.history.row_sample import RowSample, join_samples
from lvm_batch.jobs.prediction.execution.row_sampling import describe_contexts, project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS = 700


def sample_of(history: Path) -> RowSample | None:
    """The sampled rows of the only run of a history."""
    ((_, runs),) = read_history(str(history))
    assert not isinstance(runs, DataError)
    return runs[0].row_sample


def test_a_run_samples_rows_spread_over_all_units(
    predict: Callable[..., Any], bank: Path, tmp_path: Path
) -> None:
    """The sample has 256 rows or so, at even distances; each is described as it is in input and output."""
    contexts = windows()[0][:N_ROWS].copy()
    contexts[100:140] = np.nan  # bad rows are not sampled
    write_windows(tmp_path / "in" / "a.parquet", contexts, row_group_rows=200)
    run = ("--unit-size", "1", "--history", tmp_path / "history", "--output", tmp_path / "out")
    assert predict(tmp_path / "in", "--bank", bank, *run, "--max-bad-rows", "0.2").code == 0
    sample, rows = sample_of(tmp_path / "history"), read_rows(tmp_path / "out")
    assert sample is not None
    predictions = project(np.array([row["prediction"] for row in rows], np.float32))
    found = [
        int(np.flatnonzero((np.abs(predictions - one) < 1e-2).all(axis=1))[0])
        for one in sample.column("predictions")
    ]
    assert sample.n == pytest.approx(256 * 660 / 700, abs=5)
    assert set(np.diff(found)) <= {2, 3, *range(40, 46)}
    assert sample.column("inputs") == pytest.approx(describe_contexts(contexts[found]), abs=1e-2)
    assert sample.column("confidence") == pytest.approx([rows[row]["confidence"] for row in found])
    names = sample.reason_names.split(",")
    for row, bits in zip(found, sample.column("reasons"), strict=True):
        reasons = {name for place, name in enumerate(names) if bits >> place & 1}
        assert reasons == set(rows[row]["escalation_reasons"])


def test_rows_of_an_article_are_one_group(predict: Callable[..., Any], tmp_path: Path) -> None:
    """Contexts that follow each other are of one article; where hardly any do, near rows are one group."""
    contexts = windows()[0]
    article = np.cumsum([True, *(contexts[1:, 0] != contexts[:-1, 1]).any(axis=1)])
    first = np.flatnonzero(article <= 6)[:N_ROWS]
    shuffled = np.random.default_rng(0).permutation(first)
    for name, rows, n_groups in (
        ("order", first, article[first[-1]]),
        ("shuffled", shuffled, -(-len(first) // 256)),
    ):
        write_windows(tmp_path / name / "a.parquet", contexts[rows], row_group_rows=1000)
        history = tmp_path / f"history-{name}"
        assert predict(tmp_path / name, "--history", history, "--output", tmp_path / f"out-{name}").code == 0
        sample = sample_of(history)
        assert sample is not None
        assert len(np.unique(sample.column("groups"))) == n_groups


def test_joined_samples_keep_their_groups_apart() -> None:
    """Units number their groups by themselves, and a long list of units is thinned evenly."""

    def unit(n_rows: int, group: int) -> RowSample:
        columns = {name: np.zeros((n_rows, 2)) for name in ("inputs", "predictions")}
        columns |= {name: np.full(n_rows, group) for name in ("groups", "confidence", "reasons")}
        return RowSample.of(columns, ("low_margin",))

    joined = join_samples([unit(4, 7), unit(2, 7), unit(2, 8)], max_rows=100)
    assert joined is not None
    assert joined.column("groups").tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert joined.column("confidence").tolist() == [7] * 6 + [8] * 2
    thinned = join_samples([unit(400, 1), unit(400, 1)], max_rows=8)
    assert thinned is not None
    assert thinned.column("groups").tolist() == [0] * 4 + [1] * 4
    assert join_samples([], max_rows=8) is None


def test_a_projection_is_the_same_everywhere_and_keeps_norms() -> None:
    """The first signs are fixed here, as samples of different machines and versions are compared."""
    vectors = np.random.default_rng(0).normal(0, 768**-0.5, (400, 768)).astype(np.float32)
    norms = np.linalg.norm(project(vectors).astype(np.float64), axis=1)
    assert norms.mean() == pytest.approx(1, abs=0.03)
    assert project(np.eye(768, dtype=np.float32)[:1])[0, :6].tolist() == pytest.approx(SIGNS)
    assert np.isfinite(project(np.full((1, 768), 1e30))).all()


SIGNS = [0.1767578125, -0.1767578125, -0.1767578125, -0.1767578125, 0.1767578125, 0.1767578125]
