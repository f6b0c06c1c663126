"""Vectors read from pages are those that Arrow reads, to the bit; whatever is irregular goes through Arrow."""

from __future__ import annotations

import gc
import random
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.errors import DataError
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.pages.vectors import VectorRows
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.vectors.decoding import decode_column
from lvm_batch.io.vectors.flaws import Flaws

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from lvm_batch.io.schema import Pad

SHAPE = WindowShape(3, 16)
N = 500
PLAIN = {"use_dictionary": False, "row_group_size": 200, "data_page_size": 8192}


def numbers(n_rows: int = N, dtype: str = "float32", shape: WindowShape = SHAPE) -> NDArray[Any]:
    """Random rows, of which one has a NaN, one an infinity, and one is zero."""
    rows = np.random.default_rng(7).standard_normal((n_rows, shape.width)).astype(dtype)
    rows[3, 5], rows[250, 0], rows[N - 1] = np.nan, np.inf, 0.0
    return rows


def lists(rows: NDArray[Any]) -> pa.Array:
    """Lists of any length."""
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.reshape(-1)))


def fixed(rows: NDArray[Any]) -> pa.Array:
    """Lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def nested(rows: NDArray[Any]) -> pa.Array:
    """Lists of lists."""
    return pa.FixedSizeListArray.from_arrays(fixed(rows.reshape(-1, SHAPE.dim)), SHAPE.length)


def nested_lists(rows: NDArray[Any]) -> pa.Array:
    """Lists, of any length, of lists of any length."""
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * SHAPE.length)
    return pa.ListArray.from_arrays(offsets, lists(rows.reshape(-1, SHAPE.dim)))


def as_bytes(rows: NDArray[Any]) -> pa.Array:
    """Bytes of one number."""
    return pa.Array.from_buffers(pa.binary(rows[0].nbytes), len(rows), [None, pa.py_buffer(rows)])


FORMS = {"lists": lists, "fixed": fixed, "nested": nested, "nested lists": nested_lists, "bytes": as_bytes}


def read(
    path: Path, *, shape: WindowShape = SHAPE, batch: int = 64, pad: Pad | None = None
) -> tuple[NDArray[np.float32], Flaws, bool]:
    """All rows of a file, their flaws, and whether all were read from pages."""
    with open_parquet(str(path)) as parquet:
        n_rows = parquet.metadata.num_rows
        rows = VectorRows(parquet, "v", range(parquet.metadata.num_row_groups), shape=shape, pad=pad)
        out = np.full((n_rows, shape.length, shape.dim), 123.0, np.float32)
        flaws = Flaws()
        for first in range(0, n_rows, batch):
            found = rows.read_into(out[first : first + batch])
            flaws.bad.update({first + row: reason for row, reason in found.bad.items()})
            flaws.short.update({first + row: k for row, k in found.short.items()})
        return out, flaws, rows.is_regular


def by_arrow(path: Path, *, shape: WindowShape = SHAPE, pad: Any = None) -> tuple[NDArray[np.float32], Flaws]:  # noqa: ANN401
    """The same through Arrow."""
    with open_parquet(str(path)) as parquet:
        tables = list(
            parquet.tables(row_groups=range(parquet.metadata.num_row_groups), columns=["v"], batch_rows=64)
        )
        if not tables:  # a damaged footer may count no rows
            return np.empty((0, shape.length, shape.dim), np.float32), Flaws()
        table = pa.concat_tables(tables)
        out = np.full((table.num_rows, shape.length, shape.dim), 123.0, np.float32)
        return out, decode_column(table["v"], out, pad=pad)


def check(path: Path, *, regular: bool, shape: WindowShape = SHAPE, **options: Any) -> None:  # noqa: ANN401 - of read
    """Both ways give the same, and the pages were used or not."""
    rows, flaws, is_regular = read(path, shape=shape, **options)
    expected, of_arrow = by_arrow(path, shape=shape, pad=options.get("pad"))
    np.testing.assert_array_equal(rows.view(np.int32), expected.view(np.int32))
    assert flaws == of_arrow
    assert is_regular is regular


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "zstd", "snappy", "gzip", "brotli"])
@pytest.mark.parametrize("form", FORMS)
def test_every_regular_file_is_read_from_its_pages(
    tmp_path: Path, form: str, codec: str, version: str
) -> None:
    """Every form, codec and version of pages, with checksums; flaws are found as Arrow's way finds them."""
    path = tmp_path / "f.parquet"
    table = pa.table({"n": range(N), "v": FORMS[form](numbers())})
    pq.write_table(
        table, path, compression=codec, data_page_version=version, write_page_checksum=True, **PLAIN
    )
    check(path, regular=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("form", ["lists", "fixed", "nested"])
def test_every_type_of_values_is_read(tmp_path: Path, form: str, dtype: str) -> None:
    """Values become float32 as they do elsewhere, a float64 beyond it infinity."""
    rows = numbers(dtype=dtype)
    if dtype == "float64":
        rows[7, 7] = 1e300
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"v": FORMS[form](rows)}), path, **PLAIN)
    check(path, regular=True)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("required", [False, True])
def test_rows_of_bytes_are_read(
    tmp_path: Path, dtype: str, codec: str, version: str, *, required: bool
) -> None:
    """Whether or not the column may hold nulls, and with the dictionary that writers try first."""
    rows = as_bytes(numbers(dtype=dtype))
    table = pa.table([rows], schema=pa.schema([pa.field("v", rows.type, nullable=not required)]))
    for name, options in (("a", PLAIN), ("b", {"row_group_size": 200, "dictionary_pagesize_limit": 1000})):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table, path, compression=codec, data_page_version=version, **options)
        check(path, regular=True)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_bytes_with_nulls_go_through_arrow(tmp_path: Path, version: str) -> None:
    """A null row has no bytes in its page."""
    rows = as_bytes(numbers()).to_pylist()
    rows[333] = None
    path = tmp_path / "f.parquet"
    table = pa.table({"v": pa.array(rows, pa.binary(4 * SHAPE.width))})
    pq.write_table(table, path, data_page_version=version, **PLAIN)
    check(path, regular=False)


def test_streams_of_bytes_are_read(tmp_path: Path) -> None:
    """BYTE_STREAM_SPLIT is undone."""
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"v": fixed(numbers())}), path, use_byte_stream_split=True, **PLAIN)
    check(path, regular=True)


@pytest.mark.parametrize("width", [8, 9, 20, 31, 257])
def test_rows_of_any_width_are_read(tmp_path: Path, width: int) -> None:
    """Widths that are no multiple of eight, whose levels do not repeat from row to row."""
    shape = WindowShape(1, width)
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"v": lists(numbers(shape=shape))}), path, **PLAIN)
    check(path, regular=True, shape=shape, batch=7)


def test_pages_of_other_writers_are_read(tmp_path: Path) -> None:
    """Polars and DuckDB write other levels and other pages."""
    rows = numbers()
    frame = pl.DataFrame({"v": rows.tolist()}, schema={"v": pl.List(pl.Float32)})
    frame.write_parquet(tmp_path / "polars.parquet", use_pyarrow=False, row_group_size=100, statistics=False)
    held = pa.table({"v": lists(rows)})  # noqa: F841 - DuckDB finds it by its name
    duckdb.sql("select * from held").write_parquet(str(tmp_path / "duckdb.parquet"))
    for name in ("polars", "duckdb"):
        got, flaws, _ = read(tmp_path / f"{name}.parquet")
        expected, of_arrow = by_arrow(tmp_path / f"{name}.parquet")
        np.testing.assert_array_equal(got.view(np.int32), expected.view(np.int32))
        assert flaws == of_arrow


def irregular(kind: str) -> pa.Array:
    """Rows that are not full lists of one width."""
    rows = numbers().tolist()
    if kind == "null row":
        rows[333] = None
    elif kind == "null value":
        rows[333][4] = None
    elif kind == "empty row":
        rows[333] = []
    elif kind == "short row":
        rows[333] = rows[333][:-1]
    elif kind == "one vector less":
        rows[333] = rows[333][: -SHAPE.dim]
    else:  # rows whose edges are elsewhere, though their sum is right
        rows[333], rows[334] = rows[333][:-3], rows[333][-3:] + rows[334]
    return pa.array(rows, pa.list_(pa.float32()))


@pytest.mark.parametrize(
    "kind", ["null row", "null value", "empty row", "short row", "one vector less", "shifted edges"]
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_irregular_rows_go_through_arrow(tmp_path: Path, kind: str, version: str) -> None:
    """From the first page with such a row on; the rows before it have been read from pages."""
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"v": irregular(kind)}), path, data_page_version=version, **PLAIN)
    check(path, regular=False, pad="repeat")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("limit", [1, 5000, 10**9])
def test_pages_after_those_with_a_dictionary_are_read(tmp_path: Path, limit: int, version: str) -> None:
    """Writers begin with a dictionary and give it up when it is too large, at once, later or never."""
    path = tmp_path / "f.parquet"
    options = {"row_group_size": 200, "data_page_size": 2048, "dictionary_pagesize_limit": limit}
    pq.write_table(pa.table({"v": lists(numbers())}), path, data_page_version=version, **options)
    check(path, regular=True, batch=33)


@pytest.mark.parametrize("row", [3, 150])
def test_irregular_rows_among_those_with_a_dictionary_are_found(tmp_path: Path, row: int) -> None:
    """Rows of other lengths that add up move the rows of the pages after them."""
    rows = numbers().tolist()
    rows[row], rows[row + 1] = rows[row][:-3], rows[row][-3:] + rows[row + 1]
    path = tmp_path / "f.parquet"
    options = {"row_group_size": 300, "data_page_size": 2048, "dictionary_pagesize_limit": 10_000}
    pq.write_table(pa.table({"v": pa.array(rows, pa.list_(pa.float32()))}), path, **options)
    check(path, regular=False)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("form", [lists, as_bytes])
def test_damaged_files_give_the_same_rows_or_an_error(
    tmp_path: Path, form: Callable[..., pa.Array], codec: str, version: str, *, coded: bool
) -> None:
    """Single bytes of a file are changed: what comes out is what Arrow gives, or both raise an error by name."""
    shape = WindowShape(2, 8)
    path = tmp_path / "f.parquet"
    table = pa.table({"v": form(numbers(shape=shape)[:60])})
    options = {"use_dictionary": coded, "data_page_size": 512, "dictionary_pagesize_limit": 600}
    pq.write_table(table, path, compression=codec, data_page_version=version, **options)
    content = path.read_bytes()
    chance = random.Random(f"{form.__name__} {codec} {version} {coded}")  # noqa: S311 - damage, not secrets
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 1, 2, 4])):
            damaged[chance.randrange(4, len(content) - 8)] = chance.choice(
                [0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)]
            )
        path.write_bytes(damaged)
        try:
            expected: Any = by_arrow(path, shape=shape)
        except DataError:
            expected = None
        try:
            rows, flaws, _ = read(path, shape=shape)
        except DataError:
            continue
        assert expected is not None
        np.testing.assert_array_equal(rows.view(np.int32), expected[0].view(np.int32))
        assert flaws == expected[1]


@pytest.mark.parametrize("limit", [5000, 10**9])
def test_a_reader_that_is_done_with_holds_no_memory(tmp_path: Path, limit: int) -> None:
    """Nothing is kept until a collection of cycles, whichever way the rows came."""
    path = tmp_path / "f.parquet"
    pq.write_table(
        pa.table({"v": lists(numbers())}), path, row_group_size=200, dictionary_pagesize_limit=limit
    )
    read(path)  # what the first read brings to life stays
    gc.collect()
    gc.disable()
    try:
        before = pa.total_allocated_bytes()
        read(path)
        assert pa.total_allocated_bytes() == before
    finally:
        gc.enable()
