"""Outputs whose predictions are codes of 8 bits or signs, through every command that reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import assert_same_rows, windows, write_windows

from lvm_batch import decode_predictions, predictions_dataset, read_predictions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

BAD = 7
"""The row of the second file that has no prediction."""

DTYPES = pytest.mark.parametrize("dtype", ["int8", "binary"])


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two files of windows, one with a bad row, and one of no rows."""
    contexts, targets = (part[:20].copy() for part in windows())
    write_windows(tmp_path / "in/a.parquet", contexts, targets)
    contexts[BAD] = np.nan
    write_windows(tmp_path / "in/b.parquet", contexts, targets, row_group_rows=6)
    write_windows(tmp_path / "in/c.parquet", contexts[:0], targets[:0])
    return tmp_path / "in"


@pytest.fixture
def job(dataset: Path) -> tuple[object, ...]:
    """The arguments of the job, but for its output."""
    return (dataset, "--max-bad-rows", 0.1, "--output")


@DTYPES
def test_every_reader_reads_them(
    dtype: str,
    job: tuple[object, ...],
    tmp_path: Path,
    predict: Callable[..., Any],
    lvm_batch: Callable[..., Any],
) -> None:
    """Rows, cosines and routes are those of float32; decoded predictions are near to them, NaN where none is."""
    for kind in ("float32", dtype):
        predict(*job, tmp_path / kind, "--output-dtype", kind).done()
    out = tmp_path / dtype
    floats, codes = (predictions_dataset(tmp_path / kind).to_table() for kind in ("float32", dtype))
    assert_same_rows(*(table.drop_columns("prediction").to_pylist() for table in (codes, floats)))
    assert codes["prediction"].null_count == 0
    wanted, decoded = decode_predictions(floats), decode_predictions(codes)
    bad = np.isnan(wanted).any(axis=1)
    assert np.flatnonzero(bad).tolist() == [20 + BAD]
    np.testing.assert_array_equal(np.isnan(decoded).all(axis=1), bad)
    assert np.einsum("nd,nd->n", decoded, wanted)[~bad].min() > {"int8": 0.99, "binary": 0.1}[dtype]
    frame = read_predictions(out, decode=True)
    assert frame.collect_schema()["prediction"] == pl.Array(pl.Float32, 768)
    np.testing.assert_array_equal(frame.select("prediction").collect()["prediction"].to_numpy(), decoded)
    for command in ("verify", "status", "report"):
        lvm_batch(command, out).done()
    shown = lvm_batch("show", out, "--rows", 40).done()["rows"]
    lost = [row["@row"] for row in shown if row["prediction"] is None]
    assert (len(shown), lost) == (40, [BAD])


@DTYPES
def test_files_say_how_to_decode_them(
    dtype: str, job: tuple[object, ...], tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """The type is the contract's, the footer has the scale, and a prediction takes a quarter or a thirty-second."""
    predict(*job, tmp_path / "out", "--output-dtype", dtype).done()
    kind = {"int8": pa.list_(pa.int8(), 768), "binary": pa.binary(96)}[dtype]
    for path in (tmp_path / "out").glob("*.parquet"):
        assert pq.read_schema(path).field("prediction").type == kind
        told = json.loads(pq.read_metadata(path).metadata[b"lvm_batch.prediction"])
        assert (told["dtype"], told["dim"]) == (dtype, 768)
        assert told["scale"] == pytest.approx({"int8": 1 / 127, "binary": 768**-0.5}[dtype])
    frame = read_predictions(tmp_path / "out")
    assert frame.collect_schema()["prediction"] == (
        pl.Binary if dtype == "binary" else pl.Array(pl.Int8, 768)
    )
    assert len(frame.collect()) == 40


@DTYPES
def test_another_type_is_another_job(
    dtype: str, job: tuple[object, ...], tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """The same command has nothing left to do; with another type it is refused, and the error names the setting."""
    predict(*job, tmp_path / "out", "--output-dtype", dtype).done()
    assert predict(*job, tmp_path / "out", "--output-dtype", dtype).done()["units_computed"] == 0
    refused = predict(*job, tmp_path / "out", "--output-dtype", "float16")
    assert refused.code == 2
    assert "output_dtype" in refused.values["error"]["message"]


def test_signs_need_whole_bytes(tmp_path: Path, lvm_batch: Callable[..., Any]) -> None:
    """A width that is no multiple of 8 is refused before any work; int8 takes it."""
    from lvm_batch.lvm import build_model, save_checkpoint

    facts: dict[str, Any] = {"context_length": 5, "epoch": 1, "val_loss": None, "val_cosine": None}
    model = build_model("amn", seed=1, input_dim=12, d_model=8, hidden_dim=8)
    save_checkpoint(tmp_path / "amn.pt", model, architecture="amn", **facts)
    contexts = np.random.default_rng(0).standard_normal((4, 5, 12)).astype(np.float32)
    (tmp_path / "in").mkdir()
    flat = pa.FixedSizeListArray.from_arrays(pa.array(contexts.reshape(-1)), 60)
    pq.write_table(pa.table({"context": flat}), tmp_path / "in/a.parquet")
    job = (
        "run",
        tmp_path / "in",
        "--model",
        tmp_path / "amn.pt",
        "--workers",
        1,
        "--output",
        tmp_path / "out",
    )
    refused = lvm_batch(*job, "--output-dtype", "binary")
    assert refused.code == 2
    assert "the vectors have 12" in refused.values["error"]["message"]
    assert not (tmp_path / "out").exists()
    lvm_batch(*job, "--output-dtype", "int8").done()
    vectors = decode_predictions(predictions_dataset(tmp_path / "out").to_table())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
