"""Packing in order: the rows of all sources together, each article whole in one file and in the order of its rows.

The rule: rows are moved, never changed: every column keeps its type and its values to the bit. The memory held does
not grow with the number of rows: keys are sorted first, which gives each row its place, then rows go there through
temporary files.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.files import check_unchanged
from lvm_batch.io.errors import ColumnError, UnreadableFile
from lvm_batch.io.formats.common_schema import common_schema
from lvm_batch.io.packing.encoding import EncodedRows
from lvm_batch.io.packing.packed_files import packed_files, sizes_of
from lvm_batch.io.packing.packing import packed_of, refuse_no_vectors
from lvm_batch.io.packing.row_stream import RowStream, cut
from lvm_batch.io.packing.sorting.rank_sort import RankedRows, Span, sort_by_rank
from lvm_batch.io.packing.sorting.row_order import order_rows
from lvm_batch.io.packing.sorting.spill_types import cast, immovable, restore, spill, spilled_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lvm_batch.io.packing.encoding import Packing
    from lvm_batch.io.packing.packed_files import PackedFiles
    from lvm_batch.io.packing.packing import Packed
    from lvm_batch.io.packing.sorting.row_order import RowOrder
    from lvm_batch.io.packing.sources import Source

_KEY_ROWS = 2**16
_MOST_BLOCK_BYTES = 256 * 2**20  # larger ones are no faster, and 32-bit offsets reach over 2 GiB
_SORTER = 0.7  # of the memory for DuckDB, which takes up to a third more than its limit
_BLOCKS_HELD = 6  # one that is read, joined and sorted, and what is being decoded, encoded and written


@dataclass(frozen=True, slots=True)
class Sorting:
    """How rows are sorted: by which columns, and in how many bytes of memory."""

    article: str
    position: str
    memory: int

    @property
    def block_bytes(self) -> int:
        """Bytes of rows that are sorted at a time."""
        return min(max(1, self.memory // _BLOCKS_HELD), _MOST_BLOCK_BYTES)


def pack_sorted(
    sources: Sequence[Source],
    output: str,
    *,
    sorting: Sorting,
    packing: Packing,
    on_rows: Callable[[int], None] | None = None,
) -> Packed:
    """Write the rows of all ``sources``, in order, into the folder or URL ``output``.

    ``on_rows`` is called with the number of rows just done; a row is half done when it has been read. Raises what
    :func:`packing.pack` raises, and :class:`ColumnError` if the sources' columns do not go together.
    """
    packing = _with_common_dtype(sources, packing)
    row_bytes = max(source.row_bytes for source in sources)
    group_rows, file_rows = sizes_of(packing, row_bytes)
    most_rows = max(1, sorting.block_bytes // (4 * row_bytes))
    encoded = [EncodedRows(source, packing, most_rows=most_rows) for source in sources]
    schema = common_schema([(rows.source.path, rows.schema) for rows in encoded])
    if field := immovable(schema):
        raise ColumnError(
            f"column `{field.name}` is {field.type}, which cannot be sorted",
            f"write it in another type, or leave it out: --leave-out {field.name}",
        )
    with packed_files(output) as files:
        with files.naming_errors():
            order = order_rows(
                _keys(sources, sorting, schema),
                files.folder,
                file_rows=file_rows,
                memory=int(_SORTER * sorting.memory),
            )
        passed = _TwoPasses(on_rows)
        rows = _sorted_rows(encoded, order, schema, files=files, sorting=sorting, on_rows=passed.add)
        for number, n_rows in enumerate(order.file_rows):
            files.write(f"part-{number:05d}.parquet", rows, cut(n_rows, group_rows), on_rows=passed.add)
        rows.finish()
        refuse_no_vectors(encoded)
        files.publish()
    return packed_of(files.written, encoded)


def _with_common_dtype(sources: Sequence[Source], packing: Packing) -> Packing:
    """Choose one type for the vectors of all sources: float16 if all of them are."""
    halves = {dtype.itemsize == 2 for source in sources for dtype in source.vectors.values()}  # noqa: PLR2004
    return replace(packing, dtype=packing.dtype or ("float16" if halves == {True} else "float32"))


def _keys(
    sources: Sequence[Source], sorting: Sorting, schema: pa.Schema
) -> Iterator[tuple[pa.ChunkedArray, pa.ChunkedArray]]:
    """Yield the articles and positions of all rows, in the order of the sources."""
    names = [sorting.article, sorting.position]
    for source in sources:
        for table in source.columns(names, _KEY_ROWS):
            articles, positions = (cast(table[name], schema.field(name).type) for name in names)
            yield articles, positions
        check_unchanged(source.file)


class _TwoPasses:
    """Reports rows as done of which each is added twice: once it has been read, and once it has been written."""

    def __init__(self, on_rows: Callable[[int], None] | None) -> None:
        self._on_rows = on_rows
        self._n_added = 0

    def add(self, n_rows: int) -> None:
        """Add rows that have passed."""
        before, self._n_added = self._n_added, self._n_added + n_rows
        if self._on_rows:
            self._on_rows(self._n_added // 2 - before // 2)


def _sorted_rows(
    encoded: Sequence[EncodedRows],
    order: RowOrder,
    schema: pa.Schema,
    *,
    files: PackedFiles,
    sorting: Sorting,
    on_rows: Callable[[int], None],
) -> RowStream:
    spilled = spilled_schema(schema)
    span = Span(0, order.n_rows, _stored_bytes(encoded))
    parts = _ranked(encoded, order, spilled, on_rows)
    tables = sort_by_rank(parts, span, folder=files.folder, block_bytes=sorting.block_bytes)
    vectors = dict.fromkeys(name for rows in encoded for name in rows.source.vectors)
    return RowStream(
        (restore(table, schema) for table in tables), schema, vectors=vectors, name=encoded[0].source.path
    )


def _stored_bytes(encoded: Sequence[EncodedRows]) -> int:
    """Estimate the bytes of all rows: the vectors, and as much of the others as the files may hold of them."""
    return sum(
        rows.source.n_rows * rows.source.shape.width * 4 + rows.source.file.size // 4 for rows in encoded
    )


def _ranked(
    encoded: Sequence[EncodedRows], order: RowOrder, schema: pa.Schema, on_rows: Callable[[int], None]
) -> Iterator[RankedRows]:
    """Yield the rows in the order of the input, each with its rank."""
    first = 0
    for rows in encoded:
        for table in rows.tables():
            ranks = order.read_ranks(table.num_rows, first)
            first += table.num_rows
            with _naming_columns(rows.source.path):
                spilled = spill(table, schema)
            del table  # or it would stay in memory while the next one is read
            if len(ranks) < spilled.num_rows:
                raise UnreadableFile(
                    f"{rows.source.path} has changed while it was read",
                    "wait until it is written completely, then run again",
                    rows.source.path,
                )
            on_rows(len(ranks))
            yield RankedRows(spilled, ranks)


@contextmanager
def _naming_columns(path: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid as error:
        raise ColumnError(
            f"{path} does not match the other files: {error}",
            "write the inputs with one type of each column and run again",
        ) from error
