"""The smaller commands: bank build, status, plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import encode, sample, vectors, windows, write_windows

from lvm_batch.io.output.lock import lock_output
from lvm_batch.jobs.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_a_bank_is_built_of_a_vector_column(lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """The bank has unit norms and the source's ids; vectors without a norm are left out and counted."""
    scaled = vectors()[:10] * np.arange(10, dtype=np.float32)[:, None]
    pq.write_table(
        pa.table({"name": list("abcdefghij"), "vector": encode(scaled, "binary")}), tmp_path / "v.parquet"
    )
    result = lvm_batch(
        "bank", "build", tmp_path / "v.parquet", "--output", tmp_path / "bank", "--id-column", "name"
    )
    assert (result.code, result.values["count"], result.values["left_out"]) == (0, 9, 1)
    np.testing.assert_allclose(np.load(tmp_path / "bank/vectors.npy"), vectors()[1:10], atol=1e-3)
    assert pq.read_table(tmp_path / "bank/ids.parquet")["id"].to_pylist() == list("bcdefghij")


def test_a_bank_of_one_vector_gives_confidence_and_no_margin(
    lvm_batch: Callable[..., Any], predict: Callable[..., Any], tmp_path: Path
) -> None:
    """A margin needs two vectors: with one it is null, and a notice says that the criterion is not evaluated."""
    pq.write_table(
        sample().slice(100, 1), tmp_path / "v.parquet"
    )  # no vector of the contexts: it would not count
    lvm_batch("bank", "build", tmp_path / "v.parquet", "--output", tmp_path / "bank").done()
    path = write_windows(tmp_path / "in.parquet", windows()[0][:5])
    result = predict(path, "--output", tmp_path / "out", "--bank", tmp_path / "bank")
    assert "low_margin" in result.values["criteria_not_evaluated"]
    table = pq.read_table(tmp_path / "out/in-00000.parquet")
    assert (table["confidence"].null_count, table["margin"].null_count) == (0, 5)


def test_a_faiss_bank_answers_like_an_exact_one(
    lvm_batch: Callable[..., Any], predict: Callable[..., Any], tmp_path: Path
) -> None:
    """A bank with an index is searched through it: it may miss a neighbour, but no score is ever too high.

    Fresh weights predict far from any vector of the bank, where an inverted file finds least.
    """
    pytest.importorskip("faiss", reason='pip install "lvm-batch[faiss]"')
    pq.write_table(sample(), tmp_path / "v.parquet")
    path = write_windows(tmp_path / "in.parquet", windows()[0][:200])
    confidence = {}
    for index in ("exact", "faiss"):
        lvm_batch(
            "bank", "build", tmp_path / "v.parquet", "--output", tmp_path / index, "--index", index
        ).done()
        assert predict(path, "--output", tmp_path / f"out-{index}", "--bank", tmp_path / index).code == 0
        table = pq.read_table(tmp_path / f"out-{index}/in-00000.parquet")
        confidence[index] = table["confidence"].to_numpy()
    assert (confidence["faiss"] <= confidence["exact"] + 1e-6).all()
    assert (np.abs(confidence["exact"] - confidence["faiss"]) < 1e-4).mean() > 0.5


def test_a_bank_needs_its_column(lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """A file without the vector column is refused with its own columns listed."""
    pq.write_table(pa.table({"text": ["a sentence"]}), tmp_path / "v.parquet")
    result = lvm_batch("bank", "build", tmp_path / "v.parquet", "--output", tmp_path / "bank")
    assert result.code == 2
    assert "text" in result.values["error"]["message"]


def test_status_shows_how_far_a_job_is(
    lvm_batch: Callable[..., Any], predict: Callable[..., Any], tmp_path: Path
) -> None:
    """Done, incomplete and running are distinguished by the output folder alone."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:20])
    predict(path, "--output", tmp_path / "out").done()
    done = lvm_batch("status", tmp_path / "out").values
    assert (done["state"], done["units_done"], done["rows_done"]) == ("done", 1, 20)
    with lock_output(str(tmp_path / "out")):
        assert lvm_batch("status", tmp_path / "out").values["state"] == "running"
    (tmp_path / "out/_SUCCESS").unlink()
    (tmp_path / "out/_lvm_batch/done/in-00000.parquet.json").unlink()
    partly = lvm_batch("status", tmp_path / "out").values
    assert (partly["state"], partly["units_done"], partly["rows"]) == ("incomplete", 0, 20)


def test_status_of_a_folder_without_a_job(lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """A folder without a job has no status."""
    assert lvm_batch("status", tmp_path).code == 2


def test_a_plan_writes_nothing(lvm_batch: Callable[..., Any], models: Path, tmp_path: Path) -> None:
    """A plan and a dry run print units and notices, and write no file."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:300], row_group_rows=100)
    arguments = (path, "--output", tmp_path / "out", "--model", models / "amn.pt", "--unit-size", "2MiB")
    planned, dry = lvm_batch("plan", *arguments), lvm_batch("run", "--dry-run", *arguments)
    assert planned.values == dry.values
    assert [unit["rows"] for unit in planned.values["units"]] == [100, 100, 100]
    assert not (tmp_path / "out").exists()


def test_a_plan_says_that_the_output_holds_another_job(
    lvm_batch: Callable[..., Any],
    predict: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    models: Path,
    tmp_path: Path,
) -> None:
    """The notice says what differs, as a run's error would, and no unit of the other job counts as done."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:20])
    predict(path, "--output", tmp_path / "out").done()
    arguments = ["plan", path, "--output", tmp_path / "out", *_models(models)]
    same, other = lvm_batch(*arguments), lvm_batch(*arguments, "--min-confidence", "0.5")
    assert (same.values["refusal"], same.values["units"][0]["done"]) == (None, True)
    refusal = other.values["refusal"]
    assert "holds another job: settings.min_confidence was 0.7, is 0.5" in refusal["message"]
    assert other.values["units"][0]["done"] is False
    refused = predict(path, "--output", tmp_path / "out", "--min-confidence", "0.5")
    assert refused.values["error"]["message"] == refusal["message"]
    assert main([*map(str, arguments), "--min-confidence", "0.5"]) == 0
    assert f"run will refuse it: {refusal['message']}" in capsys.readouterr().out


def _models(models: Path) -> tuple[object, ...]:
    return "--model", models / "amn.pt", "--fallback", models / "gru.pt"
