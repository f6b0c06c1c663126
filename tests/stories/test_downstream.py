"""The output of a run, opened by the tools that read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
from support.datasets import windows, write_windows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS = 12
COLUMNS = ["key", "prediction", "cosine", "route", "escalation_reasons", "confidence", "margin", "amn_cosine"]
COLUMNS += ["gru_cosine", "shadow", "status", "status_detail"]


@pytest.fixture
def out(predict: Callable[..., Any], tmp_path: Path) -> Path:
    """The output of a run over two partitions, with one bad row in each, after a killed unit left its files."""
    contexts, targets = (part[: N_ROWS // 2].copy() for part in windows())
    contexts[2] = np.nan
    for date in ("2026-01-01", "2026-01-02"):
        columns = {"key": np.arange(N_ROWS // 2)}
        write_windows(tmp_path / f"in/date={date}/part.parquet", contexts, targets, columns=columns)
    predict(tmp_path / "in", "--output", tmp_path / "out", "--max-bad-rows", 1).done()
    (tmp_path / "out/_lvm_batch/tmp/half.part").write_bytes(b"PAR1")
    return tmp_path / "out"


def test_arrow_opens_the_folder(out: Path) -> None:
    """A pyarrow dataset has the rows and the partitions, and predictions as a fixed-size array."""
    dataset = pa.dataset.dataset(out, partitioning="hive")
    assert all("_lvm_batch" not in path and "_SUCCESS" not in path for path in dataset.files)
    table = dataset.to_table()
    assert table.num_rows == N_ROWS
    assert table.column_names == [*COLUMNS, "date"]
    assert table.schema.field("prediction").type == pa.list_(pa.float32(), 768)
    assert table["prediction"].null_count == 0
    assert table["prediction"].combine_chunks().flatten().to_numpy().shape == (N_ROWS * 768,)


def test_polars_opens_the_files(out: Path) -> None:
    """A polars scan is lazy, finds the files below the folder, and has predictions as an array."""
    frame = pl.scan_parquet(out / "**/*.parquet", hive_partitioning=True)
    assert frame.collect_schema()["prediction"] == pl.Array(pl.Float32, 768)
    counted = frame.filter(pl.col("status") == "ok").select(pl.len(), pl.col("date").n_unique()).collect()
    assert counted.row(0) == (N_ROWS - 2, 2)


def test_pandas_opens_the_folder(out: Path) -> None:
    """A pandas frame has the rows of the folder, with dictionaries as categories."""
    frame = pd.read_parquet(out)
    assert len(frame) == N_ROWS
    assert frame["route"].value_counts().to_dict() == {"amn": N_ROWS - 2, "gru": 0}
    assert np.stack(frame["prediction"]).shape == (N_ROWS, 768)


def test_duckdb_opens_the_files(out: Path) -> None:
    """DuckDB queries the files below the folder in SQL."""
    counts = duckdb.sql(
        f"SELECT route, count(*), max(len(prediction)) FROM read_parquet('{out}/**/*.parquet') "  # noqa: S608
        "GROUP BY route ORDER BY route NULLS LAST"
    ).fetchall()
    assert counts == [("amn", N_ROWS - 2, 768), (None, 2, 768)]
