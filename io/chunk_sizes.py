"""What the rows of a Parquet file take, told by its footer.

The rule: no row is decoded. Where a footer cannot tell, the size of a page, one header is read. This module does not
know what a worker makes of the sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.io.locations import locate
from lvm_batch.io.parquet import naming_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow.parquet as pq

_LIGHT_BYTES = 2**20  # a file of fewer is nothing beside a worker, and there may be very many of these
_PEEK_FROM_BYTES = 8 * 2**20  # pages of smaller column chunks are small, whatever their writer did
_PAGE_HEADER_BYTES = 32


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Sizes within the row group with the most bytes.

    ``vector_row`` and ``other_row`` are uncompressed bytes of a row: of the columns of vectors, and of the others, as
    they are encoded; of a light file each is all of it. ``page`` is what a page of vectors takes while it is decoded.
    """

    vector_row: int = 0
    other_row: int = 0
    page: int = 0


def chunk_sizes(file: pq.ParquetFile, path: str, *, vectors: Iterable[str | None]) -> ChunkSizes:
    """Look up what one row takes; the page's size is read from the first one's header, where a chunk is large."""
    metadata = file.metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    largest = max(groups, key=lambda group: group.total_byte_size, default=None)
    if largest is None or not largest.num_rows:
        return ChunkSizes()
    if 0 < (n_bytes := sum(group.total_byte_size for group in groups)) < _LIGHT_BYTES:
        row = n_bytes // sum(group.num_rows for group in groups)
        return ChunkSizes(row, row)
    _check_chunks(file, path, groups.index(largest))
    wanted = set(vectors)
    sizes = {True: 0, False: 0}
    page = 0
    for chunk, name in _named_chunks(largest, path):
        is_vector = name in wanted
        sizes[is_vector] += chunk.total_uncompressed_size
        if is_vector and chunk.total_uncompressed_size > _PEEK_FROM_BYTES:
            page += _page_bytes(path, chunk.data_page_offset)
    return ChunkSizes(sizes[True] // largest.num_rows, sizes[False] // largest.num_rows, page)


def _named_chunks(row_group: pq.RowGroupMetaData, path: str) -> Iterator[tuple[pq.ColumnChunkMetaData, str]]:
    """Yield the chunks of a row group and the columns they are of; a name that is no text makes the file unreadable."""
    for index in range(row_group.num_columns):
        chunk = row_group.column(index)
        with naming_errors(path, f"the name of column chunk {index}"):
            name = chunk.path_in_schema.partition(".")[0]
        yield chunk, name


def _check_chunks(file: pq.ParquetFile, path: str, row_group: int) -> None:
    """Raise :class:`UnreadableFile` where the footer's words on a column chunk contradict its schema.

    ``RowGroupMetaData.column()`` would end the process there. A reader looks at the same words and raises; asked for
    batches of no rows it reads nothing of the file (10 us a column, 2026-11-23).
    """
    with naming_errors(path, f"row group {row_group}"):
        next(file.reader.iter_batches(0, [row_group], use_threads=False), None)


def _page_bytes(path: str, offset: int) -> int:
    """Return the bytes of the page at ``offset``, compressed and not.

    Its header is Thrift's compact protocol and begins with three numbers: the page's type and its two sizes.
    """
    place = locate(path)
    with (
        naming_errors(path, f"the page at byte {offset}"),
        place.filesystem.open_input_file(place.path) as file,
    ):
        header = iter(bytes(file.read_at(_PAGE_HEADER_BYTES, offset)))
    fields = [_thrift_number(header) for _ in range(3) if next(header, None) is not None]
    return sum(fields[1:])


def _thrift_number(content: Iterator[int]) -> int:
    value = shift = 0
    for byte in content:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number has no high bit
            break
    return (value >> 1) ^ -(value & 1)
