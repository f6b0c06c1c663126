"""A bank that holds the dataset's own vectors: what a row's confidence is about, and which job that makes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support import reference
from support.datasets import read_rows, vectors, windows, write_windows

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.lvm.search.faiss import build_faiss_index

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


@pytest.mark.parametrize("index", [None, "faiss"])
def test_a_bank_that_was_encoded_anew_knows_the_rows_of_a_context(
    index: str | None, tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """A vector from a row of the context does not count, though it is another; that is part of the job."""
    known = vectors()[:400]
    articles, positions = np.arange(400) // 40, np.arange(400) % 40
    (tmp_path / "in").mkdir()
    columns = {"article_id": articles[:80], "position": positions[:80].astype(np.int32)}
    _write_vectors(tmp_path / "in/a.parquet", known[:80], **columns)
    anew = known + np.float32(0.01) * np.random.default_rng(0).standard_normal(known.shape, dtype=np.float32)
    source = tmp_path / "vectors.parquet"
    _write_vectors(source, anew, article_id=articles.astype(np.int32), position=positions)
    build = None
    if index:
        pytest.importorskip("faiss", reason='needs pip install "lvm-batch[faiss]"')
        build = build_faiss_index
    for name, article in (("placed", None), ("plain", "@none")):
        build_bank(find_files([str(source)]), str(tmp_path / name), article_column=article, build_index=build)
    job = (tmp_path / "in", "--min-confidence", -1, "--min-margin", 0, "--neighbours", 3, "--output")
    predict(*job, tmp_path / "out", "--bank", tmp_path / "placed").done()
    unit = np.load(tmp_path / "placed/vectors.npy")
    n_judged = 0
    for place, row in enumerate(read_rows(tmp_path / "out")):
        if row["status"] != "ok":
            continue
        scores = unit @ np.array(row["prediction"], np.float32)
        scores[place - 4 : place + 1] = -2
        best = np.argsort(-scores)[:3]
        names = [(each["article_id"], each["position"]) for each in row["neighbour_ids"]]
        assert not {*names} & {(articles[at], positions[at]) for at in range(place - 4, place + 1)}
        if index is None:  # the other one may miss a vector
            assert row["confidence"] == pytest.approx(scores[best[0]], abs=1e-5)
            assert names == [(articles[at], positions[at]) for at in best]
        n_judged += 1
    assert n_judged == 72
    assert identity(tmp_path / "out")["bank_keys"] == file_digest(tmp_path / "placed/ids.parquet")
    predict(*job, tmp_path / "plain-out", "--bank", tmp_path / "plain").done()
    assert "bank_keys" not in identity(tmp_path / "plain-out")
    rows, others = (read_rows(tmp_path / name) for name in ("out", "plain-out"))
    differ = [one["confidence"] != other["confidence"] for one, other in zip(rows, others, strict=True)]
    assert any(differ)
    keep = predict(*job, tmp_path / "kept", "--bank", tmp_path / "placed", "--own-context", "keep")
    keep.done()
    assert "bank_keys" not in identity(tmp_path / "kept")


def file_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_vectors(path: Path, vectors: np.ndarray, **columns: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"vector": list(vectors), **columns}), path)
