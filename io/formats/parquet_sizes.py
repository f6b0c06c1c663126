"""How much memory the rows of a Parquet file take once they are decoded, bounded from its footer.

The rule: no row is decoded. A footer has the encoded sizes, and a value that repeats is encoded once; so the bound
follows from the number of values and the largest that a value can be. A page's header is read only if that bound is
too high, and a dictionary only if the header does not lower it enough.
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
"""How many bytes of carried columns are read at a time and held until written, unless one row takes more."""

_LIGHT_BYTES = 2**20  # smaller files do not matter to a worker's memory, and there may be very many
_PEEK_FROM_BYTES = 8 * 2**20
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_CODED_COPIES = 8  # of the values of a dictionary column: in the page, the reader, the tables and the writer
_TEXT_COPIES = 10  # of texts: in the page, the reader, the tables, and as Python's strings
_CODE_BYTES = 4
_OFFSET_BYTES = 4  # of each value of a varying length
_REPEATING = ("PLAIN_DICTIONARY", "RLE_DICTIONARY", "DELTA_BYTE_ARRAY")
"""Encodings that write only once what several values have in common."""


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """The bytes of a decoded row, in the row group where a row is largest.

    ``vector_row`` counts the columns of vectors, ``part_row`` the others that windows need, ``carried_row`` those that
    go to the output; of a small file each is bounded by the whole file. ``texts`` is the size of all values of the
    columns that are read as codes, ``dictionary`` that of dictionaries of carried columns, and ``page`` that of pages
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
    """A column chunk: ``n_bytes`` encoded, ``width`` of a decoded value, ``None`` if values vary.

    ``shared_page`` is the offset of the page whose values may each occur several times.
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
        """Bytes of all values if none takes more than ``largest``."""
        if self.width is not None:
            return self.n_values * self.width
        plain = self.n_bytes + _OFFSET_BYTES * self.n_values
        return plain if self.shared_page is None else max(plain, self.n_values * (largest + _OFFSET_BYTES))


def chunk_sizes(file: OpenParquet, *, schema: pa.Schema, roles: Roles) -> ChunkSizes:
    """Return the sizes of the file's rows; in large chunks, the header of the first page gives a page's size."""
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
    """Return the size of the first pages of large chunks; pages of small chunks are small."""
    large = (chunk for chunk in group if chunk.column in columns and chunk.n_bytes > _PEEK_FROM_BYTES)
    return sum(page_bytes(file, chunk.data_page) for chunk in large)


def _shared_bytes(file: OpenParquet, group: Sequence[_Chunk], columns: Collection[str]) -> int:
    """Return the size of the dictionaries of ``columns``."""
    shared = [(chunk, chunk.shared_page) for chunk in group if chunk.column in columns]
    return sum(
        min(chunk.n_bytes, page_bytes(file, at)) if chunk.n_bytes > _PEEK_FROM_BYTES else chunk.n_bytes
        for chunk, at in shared
        if at is not None
    )


def largest_row(file: OpenParquet, *, row_groups: Iterable[int], columns: Collection[str], most: int) -> int:
    """Return the decoded bytes of a row of ``columns`` in the row group where it is largest.

    The bound is refined step by step until it is at most ``most``.
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
    """Return the bytes of the largest value of a chunk's dictionary, 0 if it has none."""
    with file.naming_errors(f"row group {chunk.row_group}"):
        rows = file.coded([chunk.leaf]).iter_batches(
            1, [chunk.row_group], columns=[chunk.leaf], use_threads=False
        )
        values = [each for column in next(rows).columns for each in _dictionaries(column)]
    return max((pc.max(pc.binary_length(each)).as_py() or 0 for each in values), default=0)


def _dictionaries(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the dictionaries of a column, at any depth."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield column.dictionary
    elif pa.types.is_struct(kind):
        for field in column.flatten():
            yield from _dictionaries(field)
    elif pa.types.is_nested(kind):
        yield from _dictionaries(column.values)


def _is_fixed(kind: pa.DataType) -> bool:
    """Whether all values of a column take the same bytes, however they are encoded."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind))


def _chunks(file: OpenParquet, row_group: int) -> list[_Chunk]:
    """List the chunks of a row group.

    Raises :class:`UnreadableFile` if the footer contradicts its schema, for which ``RowGroupMetaData.column()`` would
    end the process. A reader checks the same and raises; for batches of no rows it reads nothing of the file
    (10 us a column, 2026-11-23).
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
