"""Ranges of an object that are fetched ahead, and columns of vectors that are read from a store by them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import buckets

from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.pages.vectors import VectorRows
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.storage import object_file
from lvm_batch.io.storage.bucket import Bucket
from lvm_batch.io.storage.locations import bucket_of, locate, open_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.storage.object_file import RangesAhead

SHAPE = WindowShape(1, 16)
N_ROWS, N_GROUPS = 600, 6


@contextmanager
def stored(content: bytes, *, segment_bytes: int) -> Iterator[list[tuple[int, int]]]:
    """Put an object at ``s3://bucket/a``, read in small segments; yield what is asked of the store."""
    asked: list[tuple[int, int]] = []
    read_range = Bucket.read_range

    def noted(bucket: Bucket, found: object, start: int, end: int) -> bytes:
        asked.append((start, end))
        return read_range(bucket, found, start, end)  # type: ignore[arg-type]

    with buckets.in_memory(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_file, "_SEGMENT_BYTES", segment_bytes)
        patch.setattr(Bucket, "read_range", noted)
        bucket_of(locate("s3://bucket/a"))[0].put("a", content)
        yield asked


def await_all(ahead: RangesAhead) -> None:
    """Wait for what is being fetched."""
    for segment in ahead._segments:
        segment.content.result()


@given(
    size=st.integers(1, 60),
    ranges=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4),
    reads=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 40)), max_size=8),
)
def test_fetching_ahead_changes_no_byte(
    size: int, ranges: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> None:
    """Reads within the ranges and elsewhere, in order or not, return the object's bytes."""
    content = bytes(range(size))
    with stored(content, segment_bytes=7):
        file = open_object(locate("s3://bucket/a"))
        ahead = file.ahead([(start, min(end, size)) for start, end in ranges])
        for offset, n_bytes in reads:
            assert ahead.read_at(offset, n_bytes) == content[offset : offset + n_bytes]


def test_what_is_held_is_bounded() -> None:
    """Only so many segments are fetched before they are read, and each once."""
    with stored(bytes(1000), segment_bytes=10) as asked:
        ahead = open_object(locate("s3://bucket/a")).ahead([(0, 500), (600, 1000)])
        held = object_file._SEGMENTS_AHEAD
        for at in range(0, 300, 10):
            ahead.read_at(at, 10)
            assert len(ahead._segments) <= held
            assert len(asked) <= at // 10 + held
        await_all(ahead)
        assert sorted(asked) == [(at, at + 10) for at in range(0, 290 + 10 * held, 10)]


def test_the_next_row_group_is_fetched_while_one_is_read() -> None:
    """Each byte of a column of vectors is asked for once, in few requests, and no row group but those of the unit."""
    vectors = np.random.default_rng(0).standard_normal((N_ROWS, SHAPE.dim)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), SHAPE.dim)
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"v": column}), sink, row_group_size=N_ROWS // N_GROUPS, use_dictionary=False,
        compression="none", data_page_size=1024,
    )  # fmt: skip
    out = np.empty((N_ROWS // N_GROUPS, 1, SHAPE.dim), np.float32)
    with (
        stored(sink.getvalue().to_pybytes(), segment_bytes=4096) as asked,
        open_parquet("s3://bucket/a") as parquet,
    ):
        rows = VectorRows(parquet, "v", range(N_GROUPS), shape=SHAPE, ahead=range(4))
        starts = [parquet.metadata.row_group(group).column(0).data_page_offset for group in range(N_GROUPS)]
        asked.clear()
        for group in range(4):
            rows.read_into(out)
            np.testing.assert_array_equal(out[:, 0], vectors[group * len(out) : (group + 1) * len(out)])
            await_all(rows._source)  # type: ignore[arg-type]
            assert any(start == starts[min(group + 1, 3)] for start, _ in asked)
        assert rows.is_regular
        assert len(asked) == len(set(asked)) <= 4 * 3
        assert max(end for _, end in asked) <= starts[4]
