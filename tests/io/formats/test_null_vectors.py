"""Tests of rows without a vector, counted from footers: the count is a lower bound, and exact for whole rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.formats.null_vectors import ChunkCounts, NullVectors, count_null_rows
from lvm_batch.io.schema import BAD_INPUT, WindowShape

if TYPE_CHECKING:
    from pathlib import Path

DIM, LENGTH = 3, 2
FORMAT = DatasetFormat(shape=WindowShape(length=LENGTH, dim=DIM))
FLOATS = pa.list_(pa.float32())


def vector(n_values: int, *nulls: int) -> list[float | None]:
    """A vector of ``n_values`` ones, with nulls at the given places."""
    return [None if place in nulls else 1.0 for place in range(n_values)]


def footer_of(path: Path, rows: pa.Array, *, column: str, group_rows: int = 100) -> Footer:
    """Write ``rows`` as vectors of articles of one row each, or as contexts, and read the footer."""
    columns: dict[str, Any] = {column: rows}
    if column == "vector":
        columns |= {"article_id": range(len(rows)), "position": [0] * len(rows)}
    pq.write_table(pa.table(columns), path, row_group_size=group_rows)
    ((_, footer),) = read_footers(find_files([str(path)]), FORMAT)
    assert isinstance(footer, Footer)
    return footer


def n_bad(footer: Footer) -> int:
    """How many rows a reader finds bad, each being a context or, padded, an article of one vector."""
    (unit,) = cut_units(footer, unit_bytes=10**9, shape=FORMAT.shape)
    with open_unit(unit, FORMAT, batch_rows=7, pad="repeat") as rows:
        return sum(int((batch.status == BAD_INPUT).sum()) for batch in rows.batches)


ENCODINGS = {
    "list": FLOATS,
    "large_list": pa.large_list(pa.float32()),
    "fixed_size_list": pa.list_(pa.float32(), DIM),
    "list_view": pa.list_view(pa.float32()),
    "fixed_size_binary": pa.binary(4 * DIM),
    "binary": pa.binary(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_null_vectors_are_counted_exactly(tmp_path: Path, encoding: str) -> None:
    """In every encoding, each null row of a column of vectors counts, and the first row group with one is named."""
    good = b"\1" * 4 * DIM if "binary" in encoding else vector(DIM)
    rows = pa.array([good, good, good, None, None, good, good, None], ENCODINGS[encoding])
    footer = footer_of(tmp_path / "in.parquet", rows, column="vector", group_rows=3)
    assert footer.null_vectors == NullVectors(rows=3, row_group=1)


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (FLOATS, vector(LENGTH * DIM)),
        (pa.list_(pa.float32(), LENGTH * DIM), vector(LENGTH * DIM)),
        (pa.list_(FLOATS), [vector(DIM)] * LENGTH),
        (pa.list_(pa.list_(pa.float32(), DIM), LENGTH), [vector(DIM)] * LENGTH),
        (pa.binary(4 * LENGTH * DIM), b"\1" * 4 * LENGTH * DIM),
    ],
    ids=str,
)
def test_null_contexts_are_counted_exactly(tmp_path: Path, kind: pa.DataType, good: object) -> None:
    """In every encoding, each null row of a column of contexts counts if the others are whole."""
    footer = footer_of(tmp_path / "in.parquet", pa.array([good, None, good, None], kind), column="context")
    assert footer.null_vectors == NullVectors(rows=2, row_group=0)


@pytest.mark.parametrize("column", ["vector", "context"])
def test_a_file_without_nulls_tells_of_none(tmp_path: Path, column: str) -> None:
    """Whole rows give no count, and neither do contexts of fewer or more vectors, which are padded or cut."""
    lengths = [DIM] if column == "vector" else [DIM, 2 * DIM, 3 * DIM]
    rows = pa.array([vector(length) for length in lengths], FLOATS)
    assert footer_of(tmp_path / "in.parquet", rows, column=column).null_vectors is None


def test_a_file_without_statistics_tells_of_null_lists_all_the_same(tmp_path: Path) -> None:
    """A null list lacks its values, which the number of values shows."""
    path = tmp_path / "in.parquet"
    rows = {"vector": pa.array([vector(DIM), None, vector(DIM)], FLOATS)}
    table = pa.table(rows | {"article_id": ["a", "b", "c"], "position": [0, 0, 0]})
    pq.write_table(table, path, write_statistics=False)
    ((_, footer),) = read_footers(find_files([str(path)]), FORMAT)
    assert isinstance(footer, Footer)
    assert footer.null_vectors == NullVectors(rows=1, row_group=0)


ROWS = st.one_of(
    st.none(),
    st.integers(0, 3 * LENGTH * DIM).map(vector),
    st.sampled_from([DIM, LENGTH * DIM]).map(vector),
    st.tuples(st.integers(1, 3 * LENGTH), st.sets(st.integers(0, 2 * DIM))).map(
        lambda drawn: vector(drawn[0] * DIM, *drawn[1])
    ),
)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(ROWS, min_size=1, max_size=12),
    column=st.sampled_from(["vector", "context"]),
    group_rows=st.integers(1, 12),
)
def test_the_count_is_a_lower_bound(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], column: str, group_rows: int
) -> None:
    """Whatever lists a column holds, no more rows are counted than a reader finds bad."""
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    footer = footer_of(path, pa.array(rows, FLOATS), column=column, group_rows=group_rows)
    counted = footer.null_vectors.rows if footer.null_vectors else 0
    assert counted <= n_bad(footer)
    assert counted or not any(row is None for row in rows) or column == "context"


@given(
    counts=st.tuples(*[st.integers(-(2**40), 2**40)] * 2), n_rows=st.integers(0, 9), width=st.integers(1, 9)
)
def test_a_footer_that_lies_tells_of_no_more_rows_than_there_are(
    counts: tuple[int, int], n_rows: int, width: int
) -> None:
    """Whatever numbers a damaged footer has, the count is from none to all rows of the row group."""
    for may_vary in (False, True):
        assert 0 <= count_null_rows(ChunkCounts(n_rows, *counts), width=width, may_vary=may_vary) <= n_rows
