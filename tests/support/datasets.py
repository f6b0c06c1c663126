"""Datasets for tests, built from the real vectors that ship with the project."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@cache
def sample() -> pa.Table:
    """The whole sample of sentence vectors."""
    with as_file(files("lvm_batch.io.sample") / "wikipedia_sample.parquet") as path:
        return pq.read_table(path)


@cache
def vectors() -> np.ndarray:
    """The sample's vectors, float32 (n, 768)."""
    column = sample()["vector"].combine_chunks()
    return column.values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, 768)


@cache
def windows() -> tuple[np.ndarray, np.ndarray]:
    """Every whole window of the sample with its target: (n, 5, 768) and (n, 768), float32."""
    article = sample()["article_id"].to_numpy()
    last = [row for row in range(4, len(article) - 1) if article[row - 4] == article[row + 1]]
    return np.stack([vectors()[row - 4 : row + 1] for row in last]), vectors()[np.array(last) + 1]


def encode(contexts: np.ndarray, encoding: str) -> pa.Array:
    """Encode contexts (n, 5, 768) or vectors (n, 768) of any float dtype."""
    n_rows, width = len(contexts), int(np.prod(contexts.shape[1:]))
    flat = np.ascontiguousarray(contexts).reshape(-1)
    values = pa.array(flat)
    edges = np.arange(n_rows + 1) * width
    match encoding:
        case "fixed_size_list":
            return pa.FixedSizeListArray.from_arrays(values, width)
        case "list":
            return pa.ListArray.from_arrays(pa.array(edges, pa.int32()), values)
        case "large_list":
            return pa.LargeListArray.from_arrays(pa.array(edges, pa.int64()), values)
        case "nested_list":
            inner = pa.ListArray.from_arrays(pa.array(np.arange(n_rows * 5 + 1) * 768, pa.int32()), values)
            return pa.ListArray.from_arrays(pa.array(np.arange(n_rows + 1) * 5, pa.int32()), inner)
        case "nested_fixed":
            return pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(values, 768), 5)
        case "tensor":
            storage = pa.FixedSizeListArray.from_arrays(values, width)
            kind = pa.fixed_shape_tensor(values.type, contexts.shape[1:])
            return pa.ExtensionArray.from_storage(kind, storage)
        case "binary":
            kind = pa.binary(width * flat.itemsize)
            return pa.FixedSizeBinaryArray.from_buffers(kind, n_rows, [None, pa.py_buffer(flat)])
    raise ValueError(encoding)


def write_windows(
    path: Path,
    contexts: np.ndarray,
    targets: np.ndarray | None = None,
    *,
    encoding: str = "fixed_size_list",
    row_group_rows: int = 500,
    columns: Mapping[str, Any] | None = None,
) -> Path:
    """Write a file of the windows layout, with further ``columns``."""
    table: dict[str, Any] = {**(columns or {}), "context": encode(contexts, encoding)}
    if targets is not None:
        table["target"] = encode(
            targets, encoding if encoding in {"list", "large_list", "binary"} else "fixed_size_list"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path, row_group_size=row_group_rows)
    return path


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of an output folder, file by file, sorted by name."""
    paths = sorted(folder.rglob("*.parquet"))
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def assert_same_rows(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Check that rows are equal; floats to 1e-5, since kernels add in different orders."""
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            if _is_float(value):
                np.testing.assert_allclose(value, other[name], rtol=0, atol=1e-5, err_msg=name)
            else:
                assert value == other[name], name


def _is_float(value: object) -> bool:
    """Whether this is a float or a list of floats."""
    return isinstance(value[0] if isinstance(value, list) and value else value, float)


def assert_same_predictions(folder: Path, other: Path) -> None:
    """Check that two output folders hold the same predictions, to 1e-5."""
    np.testing.assert_allclose(predictions_of(folder), predictions_of(other), rtol=0, atol=1e-5)


def predictions_of(folder: Path) -> np.ndarray:
    """The predictions of an output folder, (n, 768)."""
    columns = [
        pq.ParquetFile(path).read(["prediction"])["prediction"] for path in sorted(folder.rglob("*.parquet"))
    ]
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for column in columns for chunk in column.chunks]
    return np.concatenate(flat).reshape(-1, 768)
