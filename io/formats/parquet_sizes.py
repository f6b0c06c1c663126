"""What the rows of a Parquet file take once they are decoded, told by its footer.

The rule: no row is decoded. A footer has the sizes of what is encoded, and a value that repeats is encoded once; so
what a row takes is bounded by how many values it has and by the largest that they can be. Only where that bound is too
much to be let stand is a page's header read, and only where that does not help a dictionary. This module does not know
what a worker makes of the sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lvm_batch.io.formats.page_headers import page_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from lvm_batch.io.formats.parquet import OpenParquet
    from lvm_batch.io.schema import Roles

HELD_BYTES = 16 * 2**20
"""What is read at a time of the columns that are carried, and held until it is written, unless one row takes more."""

_LIGHT_BYTES = 2**20  # a file of fewer is nothing beside a worker, and there may be very many of these
_PEEK_FROM_BYTES = 8 * 2**20
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_CODED_COPIES = (
    8  # of a dictionary of a column of codes: the page, the reader's, the tables' and the writer's
)
_TEXT_COPIES = 10  # the page, the reader's, the tables', and what Python makes of it
_CODE_BYTES = 4
_OFFSET_BYTES = 4  # of each value of a varying length
_REPEATING = ("PLAIN_DICTIONARY", "RLE_DICTIONARY", "DELTA_BYTE_ARRAY")
"""Encodings that write but once what several values have in common."""


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """What a row takes, decoded, in the row group where it takes most, in bytes.

    ``vector_row`` is of the columns of vectors, ``part_row`` of others that windows need, ``carried_row`` of those that
    go to the output; of a light file each is bounded by all of it. ``texts`` is what all values of the columns take
    that are read as codes, ``dictionary`` what dictionaries of carried columns take, and ``page`` what pages take
    while they are decoded.
    """

    vector_row: int = 0
    part_row: int = 0
    carried_row: int = 0
    texts: int = 0
    dictionary: int = 0
    page: int = 0


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A column chunk: ``n_bytes`` encoded, ``width`` of a value decoded, ``None`` where values vary.

    ``shared_page`` is where the page begins whose values may each stand for several.
    """

    column: str
    leaf: str
    row_group: int
    n_values: int
    n_bytes: int
    width: int | None
    data_page: int
    shared_page: int | None

    def decoded(self, largest: int) -> int:
        """Bytes of all values, where none takes more than ``largest``."""
        if self.width is not None:
            return self.n_values * self.width
        plain = self.n_bytes + _OFFSET_BYTES * self.n_values
        return plain if self.shared_page is None else max(plain, self.n_values * (largest + _OFFSET_BYTES))


def chunk_sizes(file: OpenParquet, *, schema: pa.Schema, roles: Roles) -> ChunkSizes:
    """Look up what one row takes; a page's size is read from the first one's header, where a chunk is large."""
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    n_rows = sum(group.num_rows for group in groups)
    n_bytes = sum(group.total_byte_size for group in groups)
    kinds = {name: schema.field(name).type for name in roles.carried}
    if not n_rows:
        return ChunkSizes()
    if 0 < n_bytes < _LIGHT_BYTES and not any(map(pa.types.is_nested, kinds.values())):
        mean = n_bytes // n_rows
        return ChunkSizes(mean, mean, mean if all(map(_is_fixed, kinds.values())) else n_bytes)
    largest = max(range(len(groups)), key=lambda index: groups[index].total_byte_size)
    chunks = [_chunks(file, index) for index in range(len(groups))]

    def row(*columns: str | None) -> int:
        return _largest_row(file, chunks, columns=columns, most=HELD_BYTES)

    texts = [_shared_bytes(file, group, roles.coded_columns) for group in chunks]
    coded = [name for name, kind in kinds.items() if pa.types.is_dictionary(kind)]
    dictionaries = [
        _shared_bytes(file, group, kinds) + (_CODED_COPIES - 1) * _shared_bytes(file, group, coded)
        for group in chunks
    ]
    return ChunkSizes(
        vector_row=row(roles.vectors, roles.target),
        part_row=row(roles.tokens, roles.article, roles.position),
        carried_row=row(*kinds),
        texts=_TEXT_COPIES * max(texts),
        dictionary=max(dictionaries),
        page=_pages(file, chunks[largest], {roles.vectors, roles.target, *kinds}),
    )


def _pages(file: OpenParquet, group: Sequence[_Chunk], columns: Collection[str | None]) -> int:
    """Return what the first pages of large chunks take; those of small ones are small, whatever their writer did."""
    large = (chunk for chunk in group if chunk.column in columns and chunk.n_bytes > _PEEK_FROM_BYTES)
    return sum(page_bytes(file, chunk.data_page) for chunk in large)


def _shared_bytes(file: OpenParquet, group: Sequence[_Chunk], columns: Collection[str]) -> int:
    """Return what the dictionaries of ``columns`` take, each once."""
    shared = [(chunk, chunk.shared_page) for chunk in group if chunk.column in columns]
    return sum(
        min(chunk.n_bytes, page_bytes(file, at)) if chunk.n_bytes > _PEEK_FROM_BYTES else chunk.n_bytes
        for chunk, at in shared
        if at is not None
    )


def largest_row(file: OpenParquet, *, row_groups: Iterable[int], columns: Collection[str], most: int) -> int:
    """Return what a row of ``columns`` takes in the row group where it takes most, in bytes, decoded.

    It is looked at the more closely the more it seems to be, until it is no more than ``most``.
    """
    chunks = [_chunks(file, index) for index in row_groups]
    return _largest_row(file, chunks, columns=columns, most=most)


def _largest_row(
    file: OpenParquet,
    chunks: Iterable[Sequence[_Chunk]],
    *,
    columns: Collection[str | None],
    most: int,
) -> int:
    largest = 0
    for group in chunks:
        wanted = [chunk for chunk in group if chunk.column in columns]
        if wanted and (n_rows := file.metadata.row_group(wanted[0].row_group).num_rows):
            total = sum(_decoded_bytes(file, chunk, most=most * n_rows) for chunk in wanted)
            largest = max(largest, -(-total // n_rows))
    return largest


def _decoded_bytes(file: OpenParquet, chunk: _Chunk, *, most: int) -> int:
    n_bytes = chunk.decoded(chunk.n_bytes)
    if n_bytes > most and chunk.shared_page is not None:
        n_bytes = chunk.decoded(page := min(chunk.n_bytes, page_bytes(file, chunk.shared_page)))
        if n_bytes > most:
            n_bytes = chunk.decoded(min(page, _largest_value(file, chunk) or page))
    return n_bytes


def _largest_value(file: OpenParquet, chunk: _Chunk) -> int:
    """Return the bytes of the largest value of a chunk's dictionary, 0 where it cannot be had."""
    with file.naming_errors(f"row group {chunk.row_group}"):
        rows = file.coded([chunk.leaf]).iter_batches(
            1, [chunk.row_group], columns=[chunk.leaf], use_threads=False
        )
        values = [each for column in next(rows).columns for each in _dictionaries(column)]
    return max((pc.max(pc.binary_length(each)).as_py() or 0 for each in values), default=0)


def _dictionaries(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the dictionaries of a column, within whatever it nests them."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield column.dictionary
    elif pa.types.is_struct(kind):
        for field in column.flatten():
            yield from _dictionaries(field)
    elif pa.types.is_nested(kind):
        yield from _dictionaries(column.values)


def _is_fixed(kind: pa.DataType) -> bool:
    """Whether a column's values take as much each, however they are encoded."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind))


def _chunks(file: OpenParquet, row_group: int) -> list[_Chunk]:
    """List the chunks of a row group.

    Raises :class:`UnreadableFile` where the footer's words on one contradict its schema. ``RowGroupMetaData.column()``
    would end the process there. A reader looks at the same words and raises; asked for batches of no rows it reads
    nothing of the file (10 us a column, 2026-11-23).
    """
    with file.naming_errors(f"row group {row_group}"):
        next(file.reader.iter_batches(0, [row_group], use_threads=False), None)
    group, schema = file.metadata.row_group(row_group), file.schema_arrow
    lengths = [column.length for column in file.metadata.schema]
    with file.naming_errors(f"the names of the columns of row group {row_group}"):
        chunks = [
            _chunk(group.column(index), length, column=names[0], row_group=row_group)
            for index, (names, length) in enumerate(zip(file.reader.column_paths, lengths, strict=True))
        ]
    coded = {field.name for field in schema if pa.types.is_dictionary(field.type)}
    return [replace(chunk, width=_CODE_BYTES) if chunk.column in coded else chunk for chunk in chunks]


def _chunk(described: Any, length: int, *, column: str, row_group: int) -> _Chunk:  # noqa: ANN401 - pyarrow has no types
    kind = described.physical_type
    width = length if kind == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(kind)
    shares = width is None and not set(_REPEATING).isdisjoint(described.encodings)
    first = described.data_page_offset
    shared = (described.dictionary_page_offset or first) if shares else None
    return _Chunk(
        column,
        described.path_in_schema,
        row_group,
        described.num_values,
        described.total_uncompressed_size,
        width,
        first,
        shared,
    )
