"""A bank that holds the dataset's own vectors: what a row's confidence is about, and which job that makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support import reference
from support.datasets import read_rows, windows, write_windows

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS = 60


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A file of windows whose vectors are in the bank."""
    contexts, targets = (part[:N_ROWS] for part in windows())
    return write_windows(tmp_path / "in/a.parquet", contexts, targets, columns={"id": range(N_ROWS)})


def identity(output: Path) -> dict[str, Any]:
    """What makes the job in an output this job."""
    return json.loads((output / "_lvm_batch/job.json").read_text())["identity"]


@pytest.mark.parametrize("own_context", ["drop", "keep"])
def test_confidence_and_margin_are_about_the_vectors_that_count(
    own_context: str, dataset: Path, bank: Path, tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """They leave the row's own context out of the bank, or keep it in, and differ by much."""
    options = ("--own-context", own_context, "--min-confidence", -1, "--min-margin", 0)
    summary = predict(dataset, "--output", tmp_path / "out", "--bank", bank, *options).done()
    rows = read_rows(tmp_path / "out")
    expected = reference.nearest_two(
        np.array([row["prediction"] for row in rows], np.float32),
        np.load(bank / "vectors.npy"),
        None if own_context == "keep" else windows()[0][:N_ROWS],
    )
    found = [(row["confidence"], row["margin"]) for row in rows]
    expected[:, 1] = expected[:, 0] - expected[:, 1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert summary["settings"]["own_context"] == own_context


def test_what_own_context_means_makes_the_job(
    dataset: Path, bank: Path, tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """Outputs from before the option kept it, and go on with keep; without a bank it does not matter."""
    job = (dataset, "--output", tmp_path / "out", "--bank", bank)
    predict(*job, "--own-context", "keep").done()
    assert "own_context" not in identity(tmp_path / "out")  # as in a job of a version without the option
    error = predict(*job).values["error"]
    assert "own_context was keep, is drop" in error["message"]
    assert "--own-context keep" in error["hint"]
    assert predict(*job, "--own-context", "keep").done()["units_computed"] == 0
    predict(dataset, "--output", tmp_path / "plain").done()
    assert (
        predict(dataset, "--output", tmp_path / "plain", "--own-context", "keep").done()["units_computed"]
        == 0
    )


def test_a_bank_of_nothing_else_leaves_rows_without_a_confidence(
    tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """Their confidence and margin are null, neither criterion holds, and the run says how many there are."""
    contexts = windows()[0][:3].copy()
    contexts[2, 4] = contexts[0, 0]  # this row leaves one vector of the bank
    write_windows(tmp_path / "in/a.parquet", contexts, columns={"id": range(3)})
    source = tmp_path / "vectors.parquet"
    _write_vectors(source, contexts[0])
    build_bank(find_files([str(source)]), str(tmp_path / "bank"))
    options = ("--bank", tmp_path / "bank", "--min-confidence", 1.0, "--min-margin", 2.0)
    summary = predict(tmp_path / "in", "--output", tmp_path / "out", *options).done()
    first = read_rows(tmp_path / "out")[0]
    assert first["confidence"] is None
    assert first["margin"] is None
    assert first["escalation_reasons"] == []
    assert summary["rows_by_reason"]["low_confidence"] == 2
    (warning,) = [each for each in summary["warnings"] if each["kind"] == "no_confidence"]
    assert warning["message"].startswith("1 of 3 predicted rows have no confidence")


def _write_vectors(path: Path, vectors: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"vector": list(vectors)}), path)
