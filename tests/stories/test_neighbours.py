"""The neighbours of predictions in the output: those of the model that answered, without the row's own context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import read_rows, vectors, windows, write_windows

from lvm_batch.io import predictions_dataset, read_predictions
from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS, K = 60, 7
ROUTED = ("--min-confidence", 0.079, "--min-margin", 0)  # of models with fresh weights


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A file of windows whose vectors are in the bank; one row is bad."""
    contexts, targets = (part[:N_ROWS].copy() for part in windows())
    contexts[3, 1, 5] = np.nan
    return write_windows(tmp_path / "in/a.parquet", contexts, targets, columns={"key": range(N_ROWS)})


@pytest.fixture(autouse=True)
def _bad_rows_are_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVM_BATCH_MAX_BAD_ROWS", "1")


def bank_of(folder: Path, bank_vectors: np.ndarray, **columns: Any) -> Path:  # noqa: ANN401
    """Build a bank of vectors with further columns."""
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(bank_vectors.reshape(-1), 768), **columns})
    pq.write_table(table, folder.with_suffix(".parquet"))
    build_bank(find_files([str(folder.with_suffix(".parquet"))]), str(folder))
    return folder


def names(n_vectors: int) -> pa.Array:
    """Ids of text."""
    return pa.array([f"s{number}" for number in range(n_vectors)])


def nearest(prediction: np.ndarray, context: np.ndarray, bank: np.ndarray) -> list[tuple[str, float]]:
    """The ids and cosines of the nearest ``K`` that are of no own context; of equal ones the first of the bank."""
    unit = (bank / np.linalg.norm(bank, axis=1, keepdims=True)).astype(np.float32)
    own = (unit @ (context / np.linalg.norm(context, axis=1, keepdims=True)).T >= 1 - 1e-4).any(axis=1)
    scores = np.where(own, -2, np.round(unit.astype(np.float64) @ prediction.astype(np.float64), 7))
    return [(f"s{place}", scores[place]) for place in np.argsort(-scores, kind="stable")[:K]]


def test_every_row_names_the_neighbours_of_its_prediction(
    dataset: Path, tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """Also rows of the fallback and of a bank with equal vectors; other columns are as without the option."""
    known = np.concatenate([vectors()[:1500], vectors()[:200]])
    bank = bank_of(tmp_path / "bank", known, id=names(len(known)))
    plain = (dataset, "--bank", bank, *ROUTED)
    predict(*plain, "--output", tmp_path / "plain").done()
    predict(*plain, "--output", tmp_path / "out", "--neighbours", K).done()
    rows, without = read_rows(tmp_path / "out"), read_rows(tmp_path / "plain")
    assert {row["route"] for row in rows} == {"amn", "gru", None}
    contexts = windows()[0]
    for place, row in enumerate(rows):
        found = list(zip(row.pop("neighbour_ids"), row.pop("neighbour_cosines"), strict=True))
        expected = (
            nearest(np.array(row["prediction"], np.float32), contexts[place], known) if place != 3 else []
        )
        assert [name for name, _ in found] == [name for name, _ in expected]
        np.testing.assert_allclose([cosine for _, cosine in found], [each for _, each in expected], atol=1e-6)
        np.testing.assert_equal(row, without[place])


def test_readers_have_the_neighbours(dataset: Path, tmp_path: Path, predict: Callable[..., Any]) -> None:
    """Ids keep their type, and a bank that holds fewer vectors than are asked for beside a row's own gives fewer."""
    contexts = windows()[0]
    bank = bank_of(tmp_path / "bank", contexts[0], id=pa.array([10, 11, 12, 13, 14], pa.uint16()))
    predict(dataset, "--output", tmp_path / "out", "--bank", bank, "--neighbours", 5).done()
    frame = read_predictions(tmp_path / "out").collect()
    assert frame["neighbour_ids"][0].to_list() == []
    assert sorted(frame["neighbour_ids"][40].to_list()) == [10, 11, 12, 13, 14]
    table = predictions_dataset(tmp_path / "out").to_table()
    assert table.schema.field("neighbour_ids").type.value_type == pa.uint16()
    assert table["neighbour_cosines"].to_pylist() == frame["neighbour_cosines"].to_list()


def test_a_bank_without_ids_names_neighbours_all_the_same(
    dataset: Path, tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """By article and position where it has them, which join with the dataset, else by row number, which a note says."""
    places = {
        "article_id": [number // 30 for number in range(300)],
        "position": pa.array(range(300), pa.int32()),
    }
    found = {}
    for name, columns in (("placed", places), ("numbered", {})):
        bank = bank_of(tmp_path / name, vectors()[:300], **columns)
        job = (dataset, "--output", tmp_path / f"out-{name}", "--bank", bank, "--neighbours", 2)
        ran = predict(*job)
        ran.done()
        assert ("named by row numbers" in ran.stderr) == (name == "numbered")
        found[name] = read_predictions(tmp_path / f"out-{name}").collect()["neighbour_ids"].explode()
    expected = found["numbered"].drop_nulls()
    placed = found["placed"].drop_nulls().struct.unnest()
    assert placed["position"].to_list() == expected.to_list()
    assert placed["article_id"].to_list() == [number // 30 for number in expected]


def test_what_commands_say_of_neighbours(
    dataset: Path, tmp_path: Path, predict: Callable[..., Any], lvm_batch: Callable[..., Any]
) -> None:
    """The job goes on, verify and show know the columns, and other ids or another number make another job."""
    bank = bank_of(tmp_path / "bank", vectors()[:300], id=names(300))
    job = (dataset, "--output", tmp_path / "out", "--bank", bank)
    predict(*job, "--neighbours", 2).done()
    assert predict(*job, "--neighbours", 2).done()["units_computed"] == 0
    assert lvm_batch("verify", tmp_path / "out").code == 0
    (row,) = lvm_batch("show", tmp_path / "out", "--rows", 1).values["rows"]
    assert len(row["neighbour_ids"]) == 2
    assert "settings.neighbours was 2, is 3" in predict(*job, "--neighbours", 3).values["error"]["message"]
    other = bank_of(tmp_path / "other", vectors()[:300], id=pa.array(range(300)))
    again = predict(dataset, "--output", tmp_path / "out", "--bank", other, "--neighbours", 2)
    assert "bank_ids was" in again.values["error"]["message"]


def test_neighbours_that_cannot_be_named_are_refused_before_work(
    dataset: Path, tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """Without a bank, ids, or enough vectors, and beside a column of the same name, nothing is written."""
    nameless, few = (
        bank_of(tmp_path / "nameless", vectors()[:9]),
        bank_of(tmp_path / "few", vectors()[:9], id=names(9)),
    )
    (nameless / "ids.parquet").unlink()
    job = (dataset, "--output", tmp_path / "out")
    for options, said in (
        (("--neighbours", 5), "no bank"),
        (("--neighbours", 101, "--bank", few), "0 to 100"),
        (("--neighbours", 10, "--bank", few), "9 vectors"),
        (("--neighbours", 5, "--bank", nameless), "has no ids.parquet"),
        (("--neighbours", 5, "--bank", few, "--rename", "key=Neighbour_ids"), "--neighbours adds"),
    ):
        result = predict(*job, *options)
        assert result.code == 2
        assert said in str(result.values["error"]), (options, result.values["error"])
        assert not (tmp_path / "out").exists()
