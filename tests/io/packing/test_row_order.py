"""Tests that every row gets its place, and that no file begins within an article."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_batch.io.errors import DataError, OutputError
from lvm_batch.io.packing.sorting import row_order
from lvm_batch.io.packing.sorting.row_order import order_rows

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = 2**27


def keys(articles: list[str | None]) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Articles in one chunk, all with the position 0."""
    return pa.chunked_array([pa.array(articles, pa.string())]), pa.chunked_array(
        [pa.array([0] * len(articles))]
    )


@pytest.mark.parametrize(
    ("articles", "most", "files"),
    [
        ("aaaabbc", 3, (4, 3)),
        ("abcdefg", 3, (3, 3, 1)),
        ("aabbccc", 100, (7,)),
        ("aaaaaa", 1, (6,)),
        ("", 5, (0,)),
        ("a--", 2, (2, 1)),  # rows without an article are cut anywhere
    ],
)
def test_files_hold_whole_articles(tmp_path: Path, articles: str, most: int, files: tuple[int, ...]) -> None:
    """A file has as many articles as fit, or one that is larger; no rows are one empty file."""
    named = [None if article == "-" else article for article in articles]
    assert order_rows([keys(named)], tmp_path, file_rows=most, memory=MEMORY).file_rows == files


@given(
    articles=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30),
    most=st.integers(1, 10),
    batch_rows=st.integers(1, 5),
)
@settings(max_examples=25, deadline=None)
def test_batches_do_not_matter(
    articles: list[str | None], most: int, batch_rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keys that come in parts, and are read back in parts, give the order of all rows at once."""
    folder = tmp_path_factory.mktemp("order")
    parts = [keys(articles[first : first + batch_rows]) for first in range(0, len(articles), batch_rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_order, "_FETCHED_ROWS", batch_rows)
        order = order_rows(parts, folder, file_rows=most, memory=MEMORY)
    expected = sorted(range(len(articles)), key=lambda row: (articles[row] is None, articles[row] or "", row))
    assert np.argsort(order.read_ranks(order.n_rows, 0)).tolist() == expected
    assert order.file_rows == order_rows([keys(articles)], folder, file_rows=most, memory=MEMORY).file_rows
    assert order.n_articles == len({*articles} - {None})


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (duckdb.OutOfMemoryException, DataError, "cannot be sorted in 128 MiB"),
        (
            duckdb.IOException,
            OutputError,
            r"temporary files in .* cannot be written: no room\n",
        ),
    ],
)
def test_what_duckdb_lacks_is_an_error_by_name(
    tmp_path: Path, error: type[Exception], kind: type[DataError], message: str
) -> None:
    """Too little memory or room is said with what to do, not with DuckDB's own words alone."""

    def failing() -> None:
        raise error("no room\nfor it")

    with pytest.raises(kind, match=message), row_order._database(tmp_path, MEMORY):
        failing()
