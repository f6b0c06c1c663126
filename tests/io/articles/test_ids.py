"""Tests that article ids of every Parquet type are compared exactly."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.articles.ids import comparable_ids
from lvm_batch.io.dataset.column_checks import is_plain
from lvm_batch.jobs.datasets.articles import UNKNOWN, Articles

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def of(values: list[Any], kind: Any = None) -> pa.ChunkedArray:  # noqa: ANN401
    """Values as a column of two chunks."""
    one_chunk = pa.array(values, kind)
    return pa.chunked_array([one_chunk[:2], one_chunk[2:]])


def extension(kind: Any, storage: pa.ChunkedArray) -> pa.ChunkedArray:  # noqa: ANN401
    """A column of an extension type."""
    return pa.chunked_array([pa.ExtensionArray.from_storage(kind, chunk) for chunk in storage.chunks])


NEAR = [Decimal("1.10"), Decimal("1.11"), Decimal("1.11"), None, Decimal("1.10")]
TIMES = [1, 2, 2, None, 1]
TEXTS = ["a", "b", "b", None, "a"]
BYTES = [uuid.UUID(int=2**64 + n).bytes if n else None for n in (1, 2, 2, 0, 1)]
COLUMNS: dict[str, pa.ChunkedArray] = {
    "int64": of([2**53, 2**53 + 1, 2**53 + 1, None, 2**53]),
    "uint64": of([2**64 - 2, 2**64 - 1, 2**64 - 1, None, 2**64 - 2], pa.uint64()),
    "int8": of([-1, 1, 1, None, -1], pa.int8()),
    "float64": of([1.0, 1.0 + 2**-52, 1.0 + 2**-52, float("nan"), 1.0]),
    "bool": of([True, False, False, None, True]),
    **{f"decimal{bits}": of(NEAR, getattr(pa, f"decimal{bits}")(5, 2)) for bits in (32, 64, 128, 256)},
    **{f"timestamp {unit}": of(TIMES, pa.timestamp(unit)) for unit in ("ms", "us", "ns")},
    "far timestamps": of([2**53 + 1, 2**53 + 2, 2**53 + 2, None, 2**53 + 1], pa.timestamp("ms")),
    "timestamp of a zone": of(TIMES, pa.timestamp("ns", "Europe/Berlin")),
    "date": of(TIMES, pa.date32()),
    "time32": of(TIMES, pa.time32("ms")),
    "time64": of(TIMES, pa.time64("ns")),
    "duration": of(TIMES, pa.duration("ns")),
    "string": of(TEXTS),
    "large_string": of(TEXTS, pa.large_string()),
    "string_view": of(TEXTS, pa.string_view()),
    "dictionary": of(TEXTS).dictionary_encode(),
    "binary": of([b"\xff", b"\xfe", b"\xfe", None, b"\xff"]),
    "binary_view": of([b"\xff", b"\xfe", b"\xfe", None, b"\xff"], pa.binary_view()),
    "fixed_size_binary": of(BYTES, pa.binary(16)),
    "uuid": extension(pa.uuid(), of(BYTES, pa.binary(16))),
    "json": extension(pa.json_(), of(TEXTS)),
}


def numbers(*columns: pa.ChunkedArray) -> list[NDArray[Any]]:
    """The article numbers assigned to several columns, one after the other."""
    articles = Articles()
    return [articles.add(column).tolist() for column in columns]


@pytest.mark.parametrize("name", COLUMNS)
def test_equal_ids_are_one_article_and_no_others_are(name: str, tmp_path: Path) -> None:
    """For every id type, the two nearest distinct values are two articles, and a null is no article."""
    pq.write_table(pa.table({"id": COLUMNS[name]}), tmp_path / "ids.parquet")
    column = pq.read_table(tmp_path / "ids.parquet")["id"]
    assert is_plain(column.type)
    assert numbers(column) == [[0, 1, 1, UNKNOWN, 0]]
    ids = comparable_ids(column)
    assert pc.equal(ids[1:], ids[:-1]).to_pylist() == [False, True, None, None]


def test_ids_are_equal_across_files_however_they_are_written() -> None:
    """Files may differ in number width, time unit and text encoding; equal ids are still one article."""
    assert numbers(of([7, 2**31]), of([7.0, 8.0]), of([2**31, 8], pa.uint64())) == [[0, 1], [0, 2], [1, 2]]
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
    assert numbers(*(of(["x", "y"]).cast(kind) for kind in texts)) == [[0, 1]] * len(texts)
    assert numbers(of([1, 2], pa.timestamp("ms")), of([10**6, 2 * 10**6], pa.timestamp("ns"))) == [[0, 1]] * 2
