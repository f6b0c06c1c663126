"""Datasets whose columns have other names than the usual ones are run as they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.datasets import sample

from lvm_batch.io import read_predictions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., Any]

pytestmark = pytest.mark.slow

RENAMED = {"vector": "embedding", "article_id": "doc_id", "position": "chunkIndex"}


def files_of(root: Path, names: dict[str, str]) -> Path:
    """Two files of two whole articles each, with columns of other names."""
    root.mkdir()
    for number in range(2):
        rows = sample()
        ids = rows["article_id"].unique()[2 * number : 2 * number + 2]
        rows = rows.filter(pc.is_in(rows["article_id"], ids))
        rows = rows.select(["article_id", "position", "vector"])
        pq.write_table(
            rows.rename_columns([names.get(name, name) for name in rows.column_names]),
            root / f"{number}.parquet",
        )
    return root


def predictions(output: Path) -> np.ndarray:
    """All predictions of an output, in its order."""
    return read_predictions(str(output)).collect().get_column("prediction").to_numpy()


def test_found_columns_give_the_same_predictions_and_are_part_of_the_job(
    predict: Command, tmp_path: Path
) -> None:
    """The run says in one line which columns it took; job.json names them; the usual names give the same rows."""
    usual = files_of(tmp_path / "usual", {})
    renamed = files_of(tmp_path / "renamed", RENAMED)
    predict(usual, "--output", tmp_path / "one")
    result = predict(renamed, "--output", tmp_path / "two")
    assert result.stderr.count("columns found: ") == 1
    np.testing.assert_array_equal(predictions(tmp_path / "one"), predictions(tmp_path / "two"))
    job = json.loads((tmp_path / "two" / "_lvm_batch" / "job.json").read_text())
    assert {job["settings"][f"{part}_column"] for part in ("vector", "article", "position")} == set(
        RENAMED.values()
    )
    assert job["identity"]["settings"]["vector_column"] == "embedding"


def test_each_file_can_be_one_article_in_its_order(predict: Command, tmp_path: Path) -> None:
    """With `@file` and `@row` neither an article nor a position column is needed, and none is written."""
    data = files_of(tmp_path / "data", RENAMED)
    predict(data, "--output", tmp_path / "out", "--article-column", "@file", "--position-column", "@row")
    rows = read_predictions(str(tmp_path / "out")).collect()
    assert (rows.get_column("status") == "short_context").sum() == 2 * 4
    assert "@file" not in rows.columns


def test_an_empty_shard_of_nulls_stops_nothing(predict: Command, tmp_path: Path) -> None:
    """Writers give columns without rows the type null: such a file is one empty unit, and the others are run."""
    data = files_of(tmp_path / "data", RENAMED)
    names = pq.read_schema(data / "0.parquet").names
    pq.write_table(pa.table({name: pa.nulls(0) for name in names}), data / "2.parquet")
    predict(data, "--output", tmp_path / "out").done()
    rows = read_predictions(str(tmp_path / "out")).collect()
    assert rows.height == sum(pq.read_metadata(data / f"{number}.parquet").num_rows for number in range(2))
