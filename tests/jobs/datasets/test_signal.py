"""Tests of what `inspect` and `train` say of a dataset's signal: neighbours, and near vectors against far ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.jobs.datasets.signal import MIN_ROWS, Signal, SignalSums

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.command import Result

DIM, N_ARTICLES, LENGTH = 16, 40, 60
ARTICLES = np.repeat(np.arange(N_ARTICLES), LENGTH)


def walks(seed: int = 0) -> np.ndarray:
    """Articles, each a walk around a topic: the nearer two vectors, the more alike."""
    rng = np.random.default_rng(seed)
    topics = np.repeat(rng.standard_normal((N_ARTICLES, DIM)), LENGTH, axis=0)
    steps = rng.standard_normal((N_ARTICLES, LENGTH, DIM)).cumsum(axis=1).reshape(-1, DIM)
    return (topics + 0.4 * steps).astype(np.float32)


def shuffled(vectors: np.ndarray, how: str) -> np.ndarray:
    """Vectors as they are, shuffled within their articles, or over all of them; or random ones."""
    rng = np.random.default_rng(1)
    if how == "random":
        return rng.standard_normal(vectors.shape).astype(np.float32)
    order = np.arange(len(vectors))
    if how == "within articles":
        order = np.lexsort((rng.random(len(vectors)), ARTICLES))
    elif how == "over articles":
        order = rng.permutation(len(vectors))
    return vectors[order]


def signal_of(vectors: np.ndarray, *, batch: int = 500, targets: bool = True) -> Signal:
    """The signal of all windows of five."""
    ends = np.flatnonzero(ARTICLES[5:] == ARTICLES[:-5]) + 5
    sums = SignalSums()
    for start in range(0, len(ends), batch):
        some = ends[start : start + batch]
        sums.add(vectors[some[:, None] + np.arange(-5, 0)], vectors[some] if targets else None)
    return sums.signal()


WARNINGS = {
    "not": None,
    "within articles": "no more about the next than the first",
    "over articles": "no more alike than any two",
    "random": "no more alike than any two",
}


@pytest.mark.parametrize(("how", "warning"), WARNINGS.items())
def test_a_dataset_without_a_signal_is_warned_of(how: str, warning: str | None) -> None:
    """Rows in order have a signal; shuffled ones lose what neighbours, or near vectors, say of the next one."""
    found = signal_of(shuffled(walks(), how)).warning
    assert found is None if warning is None else warning in (found or "")


def test_the_figures_are_those_of_all_pairs() -> None:
    """Neighbours, any two vectors and each place of the context equal the plain computation, in batches of any size."""
    vectors = walks()
    signal = signal_of(vectors, batch=77)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ends = np.flatnonzero(ARTICLES[5:] == ARTICLES[:-5]) + 5
    pairs = unit[ends - 1] @ unit[ends - 1].T
    assert signal.any_two == pytest.approx(
        (pairs.sum() - len(ends)) / (len(ends) * (len(ends) - 1)), abs=1e-5
    )
    places = [float((unit[ends - 5 + place] * unit[ends]).sum(axis=1).mean()) for place in range(5)]
    assert signal.by_place == pytest.approx(places, abs=1e-5)
    assert signal.neighbours == pytest.approx(places[-1], abs=1e-5)
    assert signal.last_over_first == pytest.approx(places[-1] - places[0], abs=1e-5)
    assert signal.rows == len(ends) >= MIN_ROWS


def test_contexts_alone_tell_of_neighbours() -> None:
    """Without targets the last two vectors of a context are the neighbours, and nothing is said of places."""
    signal = signal_of(walks(), targets=False)
    assert signal.neighbours is not None
    assert (signal.by_place, signal.last_over_first, signal.warning) == (None, None, None)
    assert "no more alike" in (signal_of(shuffled(walks(), "random"), targets=False).warning or "")


def test_few_rows_and_odd_ones_are_no_warning() -> None:
    """Too few rows, none at all, or vectors without a direction warn of nothing."""
    sums = SignalSums()
    assert sums.signal().warning is None
    rows = np.random.default_rng(0).standard_normal((100, 5, DIM)).astype(np.float32)
    rows[0], rows[1] = 0, np.nan
    sums.add(rows, rows[:, 0])
    assert (sums.signal().warning, np.isfinite(sums.signal().any_two or np.nan)) == (None, True)


@pytest.mark.slow
def test_inspect_and_train_report_it(lvm_batch: Callable[..., Result], tmp_path: Path) -> None:
    """Both give the figures, and warn of shuffled rows; the card of a model has them."""
    for how in ("not", "over articles"):
        path = tmp_path / f"{how.split()[0]}.parquet"
        flat = pa.array(shuffled(walks(), how).reshape(-1))
        columns = {"vector": pa.FixedSizeListArray.from_arrays(flat, DIM), "article_id": ARTICLES}
        pq.write_table(pa.table(columns | {"position": np.tile(np.arange(LENGTH), N_ARTICLES)}), path)
    good, bad = (lvm_batch("inspect", tmp_path / f"{name}.parquet").values for name in ("not", "over"))
    assert good["sample"]["signal"]["neighbours"] > good["sample"]["signal"]["any_two"] + 0.1
    assert not any("neighbours" in notice for notice in good["notices"])
    assert any("neighbours are no more alike" in notice for notice in bad["notices"])
    options = ("--arch", "amn", "--epochs", 1, "--output", tmp_path / "model")
    trained = lvm_batch("train", tmp_path / "over.parquet", *options)
    assert trained.values["signal"]["rows"] > MIN_ROWS
    assert "neighbours are no more alike" in trained.stderr
    assert "cosine of neighbours" in (tmp_path / "model/MODEL_CARD.md").read_text()
