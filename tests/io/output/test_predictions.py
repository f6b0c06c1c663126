"""Tests that predictions read back the same in every reader."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.output.writer import PredictionBlock, PredictionWriter, prediction_schema
from lvm_batch.io.schema import (
    BAD_INPUT,
    NO_ROUTE,
    OK,
    OUTPUT_COLUMNS,
    ROUTES,
    SHORT_CONTEXT,
    STATUSES,
    OutputDtype,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIM = 8
REASONS = ("low_confidence", "high_stakes_lane", "long_context", "low_margin")
NAN = np.nan
BAD, SHORT = 1, 4
"""Rows of every block that have no prediction."""


def block(n_rows: int = 6, carried: pa.Table | None = None, seed: int = 0) -> PredictionBlock:
    """Rows of every kind: a bad row, a short row, nulls, and no reason, one reason, or all reasons."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n_rows, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    floats = rng.random((5, n_rows)).astype(np.float32)
    status = np.full(n_rows, OK, np.int8)
    status[BAD:SHORT:9], status[SHORT::9] = BAD_INPUT, SHORT_CONTEXT
    lost = status != OK
    route = np.where(lost, NO_ROUTE, np.arange(n_rows) % 2).astype(np.int8)
    reasons = np.arange(n_rows)[:, None] % 5 > np.arange(4)[None, :]
    vectors[lost], floats[:, lost] = NAN, NAN
    floats[0, :1] = NAN
    return PredictionBlock(
        carried=pa.table({"id": pa.array(range(n_rows), pa.int64())}) if carried is None else carried,
        prediction=vectors,
        cosine=floats[0],
        route=route,
        reasons=reasons & ~lost[:, None],
        confidence=floats[1],
        margin=floats[2],
        amn_cosine=floats[3],
        gru_cosine=floats[4],
        shadow=np.arange(n_rows) % 3 == 0,
        status=status,
        details={BAD: "nan"} if n_rows > BAD else {},
    )


def write(path: Path, *blocks: PredictionBlock, dtype: OutputDtype = "float32") -> Path:
    """A file of predictions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with PredictionWriter(path, blocks[0].carried.schema, dim=DIM, dtype=dtype, reasons=REASONS) as writer:
        for each in blocks:
            writer.write(each)
        assert writer.n_rows == sum(len(each.status) for each in blocks)
        writer.close({"lvm_batch.job_id": "j-1", "ü": "ß"})
    return path


def expected_rows(written_block: PredictionBlock) -> list[dict[str, Any]]:
    """The rows of a block, floats as float32 and nulls as `None`; predictions are separate."""
    return [
        {
            "id": row,
            **{
                name: maybe(getattr(written_block, name)[row])
                for name in ("cosine", "confidence", "margin", "amn_cosine", "gru_cosine")
            },
            "route": None if written_block.route[row] == NO_ROUTE else ROUTES[written_block.route[row]],
            "escalation_reasons": [
                name for name, holds in zip(REASONS, written_block.reasons[row], strict=True) if holds
            ],
            "shadow": bool(written_block.shadow[row]),
            "status": STATUSES[written_block.status[row]],
            "status_detail": written_block.details.get(row),
        }
        for row in range(len(written_block.status))
    ]


def maybe(value: float) -> float | None:
    """A float32 as a Python float, NaN as `None`."""
    return None if np.isnan(value) else float(value)


def from_arrow(path: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Read with pyarrow; the vectors by `flatten`, which would shift after a null."""
    table = pq.read_table(path)
    vectors = table["prediction"].combine_chunks().flatten().to_numpy().reshape(-1, DIM)
    return table.drop_columns(["prediction"]).to_pylist(), vectors


def from_dataset(path: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Read with pyarrow.dataset."""
    table = ds.dataset(path).to_table()
    return table.drop_columns(["prediction"]).to_pylist(), np.array(
        table["prediction"].to_pylist(), np.float32
    )


def from_polars(path: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Read with polars; predictions are an Array."""
    frame = pl.read_parquet(path)
    assert isinstance(frame.schema["prediction"], pl.Array)
    return frame.drop("prediction").to_dicts(), frame["prediction"].to_numpy()


def from_duckdb(path: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Read with DuckDB; predictions are cast to a fixed-size array."""
    with duckdb.connect() as connection:
        relation = connection.sql(f"SELECT * REPLACE (prediction::FLOAT[{DIM}] AS prediction) FROM '{path}'")  # noqa: S608
        rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    return rows, np.array([row.pop("prediction") for row in rows], np.float32)


def from_pandas(path: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Read with pandas."""
    frame = pd.read_parquet(path)
    vectors = np.stack(frame.pop("prediction").to_list()).astype(np.float32)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [row | {"escalation_reasons": list(row["escalation_reasons"])} for row in rows], vectors


READERS: dict[str, Callable[[Path], tuple[list[dict[str, Any]], np.ndarray]]] = {
    "pyarrow": from_arrow,
    "pyarrow.dataset": from_dataset,
    "polars": from_polars,
    "duckdb": from_duckdb,
    "pandas": from_pandas,
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("reader", READERS)
def test_predictions_are_read_as_written(tmp_path: Path, reader: str, dtype: OutputDtype) -> None:
    """Rows, nulls, empty reason lists and dictionary values are unchanged; a missing prediction is NaN, not null."""
    written_block = block()
    rows, vectors = READERS[reader](write(tmp_path / "p.parquet", written_block, dtype=dtype))
    assert [as_plain(row) for row in rows] == expected_rows(written_block)
    np.testing.assert_array_equal(
        vectors.astype(np.float32), written_block.prediction.astype(dtype).astype(np.float32)
    )
    assert np.isnan(vectors[[BAD, SHORT]]).all()


def as_plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row from any reader, with Python's own types."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_schema_is_the_contracts(tmp_path: Path, dtype: OutputDtype) -> None:
    """Carried columns come first, then the output columns with their types; the prediction is a fixed-size list."""
    schema = pq.read_schema(write(tmp_path / "p.parquet", block(), dtype=dtype))
    labels = pa.dictionary(pa.int8(), pa.string())
    assert schema.names == ["id", *OUTPUT_COLUMNS]
    assert schema.field("prediction").type == pa.list_(pa.type_for_alias(dtype), DIM)
    assert (schema.field("route").type, schema.field("status").type) == (labels, labels)
    assert schema.field("escalation_reasons").type == pa.list_(pa.string())
    assert schema.equals(prediction_schema(pa.schema([("id", pa.int64())]), dim=DIM, dtype=dtype))


def test_blocks_are_row_groups_and_the_footer_has_its_keys(tmp_path: Path) -> None:
    """Each block is one row group, in order; the footer has the metadata beside Arrow's own keys."""
    path = write(tmp_path / "p.parquet", block(5), block(3, seed=1), block(7, seed=2))
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(3)] == [5, 3, 7]
    assert metadata.metadata[b"lvm_batch.job_id"] == b"j-1"
    assert metadata.metadata["ü".encode()] == "ß".encode()
    expected = np.concatenate([block(5).prediction, block(3, seed=1).prediction, block(7, seed=2).prediction])
    np.testing.assert_array_equal(from_arrow(path)[1], expected)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("n_blocks", [1, 2])
def test_a_file_without_rows_has_its_columns(tmp_path: Path, reader: str, n_blocks: int) -> None:
    """Blocks of zero rows can be written and give zero rows."""
    if reader == "pandas":
        frame = pd.read_parquet(write(tmp_path / "p.parquet", *[block(0)] * n_blocks))
        assert (len(frame), list(frame.columns)) == (0, ["id", *OUTPUT_COLUMNS])
        return
    rows, vectors = READERS[reader](write(tmp_path / "p.parquet", *[block(0)] * n_blocks))
    assert (rows, len(vectors)) == ([], 0)


def test_a_file_may_have_no_block_at_all(tmp_path: Path) -> None:
    """The output of an empty unit has every column and no row."""
    carried = pa.schema([("id", pa.int64())])
    with PredictionWriter(
        tmp_path / "p.parquet", carried, dim=DIM, dtype="float32", reasons=REASONS
    ) as writer:
        writer.close({})
    assert pq.read_table(tmp_path / "p.parquet").shape == (0, 12)


def test_nothing_need_be_carried(tmp_path: Path) -> None:
    """Without carried columns the file has the output columns only."""
    path = write(tmp_path / "p.parquet", block(carried=pa.table({"x": range(6)}).select([])))
    assert pq.read_table(path).column_names == list(OUTPUT_COLUMNS)
    assert pq.read_table(path).num_rows == 6


@pytest.mark.parametrize("name", ["prediction.element", ""])
def test_columns_of_any_name_are_carried(tmp_path: Path, name: str) -> None:
    """A carried column may be named like a field inside an output column, or have an empty name."""
    carried = pa.table({name: pa.array([1, None] * 3, pa.int64())})
    written = pq.ParquetFile(write(tmp_path / "p.parquet", block(carried=carried))).read().select([0])
    assert written.equals(carried)


def test_dictionaries_may_differ_from_block_to_block(tmp_path: Path) -> None:
    """Dictionary columns are carried by value, whatever codes each block and chunk uses."""
    one = pa.array(["x", "y", "x"]).dictionary_encode()
    two = pa.array(["z", "y", None]).dictionary_encode()
    first = pa.table({"lane": pa.chunked_array([one, two])})
    second = pa.table({"lane": pa.chunked_array([two, one])})
    path = write(tmp_path / "p.parquet", block(carried=first), block(carried=second))
    assert pq.read_table(path)["lane"].to_pylist() == [
        "x",
        "y",
        "x",
        "z",
        "y",
        None,
        "z",
        "y",
        None,
        "x",
        "y",
        "x",
    ]


def test_required_columns_stay_required(tmp_path: Path) -> None:
    """A column that is not nullable stays so, and keeps its field metadata."""
    field = pa.field("id", pa.int64(), nullable=False, metadata={"unit": "row"})
    carried = pa.table([pa.array(range(6))], schema=pa.schema([field]))
    found = pq.read_schema(write(tmp_path / "p.parquet", block(carried=carried))).field("id")
    assert not found.nullable
    assert found.metadata[b"unit"] == b"row"


def write_and_fail(path: Path, written_block: PredictionBlock, n_blocks: int) -> None:
    """Write blocks, then raise before the footer is written."""
    with PredictionWriter(
        path, written_block.carried.schema, dim=DIM, dtype="float32", reasons=REASONS
    ) as writer:
        for _ in range(n_blocks):
            writer.write(written_block)
        raise ZeroDivisionError


@pytest.mark.parametrize("n_blocks", [0, 1])
def test_an_exception_leaves_no_readable_file(tmp_path: Path, n_blocks: int) -> None:
    """After an exception the file has no footer, even after garbage collection, and there is no warning."""
    path = tmp_path / "p.parquet"
    written_block = block(400)
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path, written_block, n_blocks)
    gc.collect()
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(path)


def test_vectors_are_stored_plain(tmp_path: Path) -> None:
    """Predictions are stored without compression or dictionary; other columns are compressed."""
    described = pq.read_metadata(write(tmp_path / "p.parquet", block())).row_group(0)
    leaves = {described.column(i).path_in_schema: described.column(i) for i in range(described.num_columns)}
    vector = next(leaf for path, leaf in leaves.items() if path.startswith("prediction."))
    assert (vector.compression, vector.has_dictionary_page, vector.is_stats_set) == (
        "UNCOMPRESSED",
        False,
        False,
    )
    assert leaves["cosine"].compression == "ZSTD"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output folder with hive partitions, all files that lie beside predictions, and a partly written file."""
    root = tmp_path / "out"
    write(root / "lang=de" / "a-00000.parquet", block())
    write(root / "lang=en" / "a-00000.parquet", block(3, seed=1))
    write(root / "_lvm_batch" / "tmp" / "1f.part", block(50))
    write(root / "_lvm_batch" / "tmp" / "left.parquet", block(50))
    (root / "_lvm_batch" / "job.json").write_text("{}")
    (root / "_SUCCESS").write_text("{}")
    return root


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(lambda root: ds.dataset(root, partitioning="hive").count_rows(), id="pyarrow.dataset"),
        pytest.param(lambda root: pq.read_table(root).num_rows, id="pyarrow.parquet"),
        pytest.param(lambda root: len(pd.read_parquet(root)), id="pandas"),
        pytest.param(
            lambda root: pl.scan_parquet(root / "lang=*/*.parquet").collect().height, id="polars, partitions"
        ),
        pytest.param(
            lambda root: duckdb.sql(f"FROM '{root}/lang=*/*.parquet'").fetchall().__len__(), id="duckdb"
        ),
    ],
)
def test_readers_of_an_output_folder_see_predictions_only(output: Path, count: Callable[[Path], int]) -> None:
    """Readers ignore everything under `_lvm_batch`, and `_SUCCESS`, whatever a killed run left there."""
    assert count(output) == 9


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(lambda root: pl.scan_parquet(root / "**/*.parquet").collect().height, id="polars"),
        pytest.param(lambda root: len(duckdb.sql(f"FROM '{root}/**/*.parquet'").fetchall()), id="duckdb"),
    ],
)
def test_patterns_over_an_output_folder_match_predictions_only(
    output: Path, count: Callable[[Path], int]
) -> None:
    """Readers that do not skip hidden files find only predictions, since partly written files have another suffix."""
    (output / "_lvm_batch" / "tmp" / "left.parquet").unlink()
    assert count(output) == 9


def test_predictions_can_be_left_out(tmp_path: Path) -> None:
    """Every other column is written as it is with them."""
    rows = block(12)
    for name, dtype in (("with", "float32"), ("without", None)):
        with PredictionWriter(
            tmp_path / name, rows.carried.schema, dim=DIM, dtype=dtype, reasons=REASONS
        ) as writer:
            writer.write(rows)
            writer.close({})
    whole, narrow = (pq.read_table(tmp_path / name) for name in ("with", "without"))
    assert set(whole.column_names) - set(narrow.column_names) == {"prediction"}
    assert narrow.equals(whole.drop_columns(["prediction"]))


@pytest.mark.parametrize("n_rows", [0, 1, 5, 6, 7])
def test_the_first_rows_of_a_block(n_rows: int) -> None:
    """Every column is cut at the same row, details too."""
    rows, first = block(6), block(6).first(n_rows)
    assert first.carried.equals(rows.carried.slice(0, n_rows))
    assert first.details == {row: text for row, text in rows.details.items() if row < n_rows}
    for name in ("prediction", "cosine", "route", "reasons", "shadow", "status"):
        np.testing.assert_array_equal(getattr(first, name), getattr(rows, name)[:n_rows])
