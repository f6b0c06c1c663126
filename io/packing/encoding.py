"""Vectors encoded for Parquet: fixed-size binary, or fixed-size lists.

The rule: values change only by rounding to the type they are stored in, and no row is lost or moved.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.files import check_unchanged
from lvm_batch.io.errors import UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.packing.sources import Block, Source
    from lvm_batch.io.schema import FloatDtype

Encoding = Literal["fixed_size_binary", "fixed_size_list"]

_BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Packing:
    """How rows are written; without ``dtype``, float16 if the source is float16, else float32.

    A file has ``file_rows`` rows, or as many whole row groups as ``file_bytes`` of float32 vectors fill.
    """

    encoding: Encoding = "fixed_size_binary"
    dtype: FloatDtype | None = None
    file_rows: int | None = None
    file_bytes: int = 2**30


def encode_vectors(rows: NDArray[Any], null: Sequence[int], encoding: Encoding) -> pa.Array:
    """Encode float16 or float32 ``rows`` (n, width), little-endian and C-contiguous, as one array, without a copy.

    The rows ``null`` become nulls in binary; in lists they are filled with NaN, because a null in a fixed-size list
    cannot be read by pyarrow before 26 (arrow#35692).
    """
    if encoding == "fixed_size_list":
        if len(null):
            rows = rows.copy()
            rows[null] = np.nan
        return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    valid = None
    if len(null):
        mask = np.ones(len(rows), np.bool_)
        mask[null] = False
        valid = pa.array(mask).buffers()[1]
    return pa.Array.from_buffers(
        pa.binary(rows.shape[1] * rows.itemsize), len(rows), [valid, pa.py_buffer(rows)]
    )


class EncodedRows:
    """The rows of a source, read and encoded once in tables of at most ``most_rows``, and what was found of them."""

    def __init__(self, source: Source, packing: Packing, *, most_rows: int) -> None:
        self.schema = _schema(source, packing)
        self.source = source
        self.n_unusable = 0
        self._packing = packing
        self._most_rows = min(_BLOCK_ROWS, most_rows)
        self._n_null: Counter[str] = Counter()
        self._n_padded = self._n_overflown = 0

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows in order; raises :class:`UnreadableFile` if the file changes meanwhile or has fewer rows."""
        n_rows = 0
        for block in self.source.blocks(self._most_rows):
            table = self._encoded(block)
            n_rows += table.num_rows
            yield table
            del block, table  # or they would stay in memory while the next ones are read
        check_unchanged(self.source.file)
        if n_rows < self.source.n_rows:
            path = self.source.path
            raise UnreadableFile(
                f"{path} has {self.source.n_rows - n_rows:,} rows fewer than it declares",
                "write the file again",
                path,
            )

    def notices(self) -> Iterator[str]:
        """Yield what the user should know of rows that were changed."""
        empty = "null" if self._packing.encoding == "fixed_size_binary" else "filled with NaN"
        context, *others = self.source.vectors
        changes = [
            (
                self._n_null[context],
                f"hold no vectors of the right length: they are {empty}, and count as bad",
            ),
            *(
                (
                    self._n_null[column],
                    f"hold no {column} of the right length: it is {empty}, and these rows get no cosine",
                )
                for column in others
            ),
            (self._n_padded, "have a short context, which was padded"),
            (
                self._n_overflown,
                "have values too large for their new type, which are now infinite: a run counts them as bad",
            ),
        ]
        for n_rows, what in changes:
            if n_rows:
                yield f"{self.source.path}: {n_rows:,} of {self.source.n_rows:,} rows {what}"

    def _encoded(self, block: Block) -> pa.Table:
        self._n_padded += block.padded
        self._n_null.update({column: len(rows) for column, rows in block.null.items()})
        narrow = {column: self._narrowed(column, rows) for column, rows in block.vectors.items()}
        self.n_unusable += _count_unusable(*next(iter(narrow.items())), block)
        encoding = self._packing.encoding
        columns = [
            encode_vectors(rows, block.null.get(column, []), encoding) for column, rows in narrow.items()
        ]
        return pa.Table.from_arrays([*columns, *block.others.columns], schema=self.schema)

    def _narrowed(self, column: str, rows: NDArray[Any]) -> NDArray[Any]:
        """Convert values to the type that they are stored in."""
        dtype = _vector_dtype(self.source, column, self._packing)
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = np.ascontiguousarray(rows, dtype)
        if dtype.itemsize < rows.dtype.itemsize:
            overflown = np.isinf(narrow).any(axis=1) & np.isfinite(rows).all(axis=1)
            self._n_overflown += int(overflown.sum())
        return narrow


def _count_unusable(column: str, rows: NDArray[Any], block: Block) -> int:
    """Return how many rows a run finds bad: null, or with a NaN or an infinity."""
    bad = ~np.isfinite(rows).all(axis=1)
    bad[block.null.get(column, [])] = True
    return int(bad.sum())


def _vector_dtype(source: Source, column: str, packing: Packing) -> np.dtype[Any]:
    narrow = packing.dtype == "float16" or (packing.dtype is None and source.vectors[column].itemsize == 2)  # noqa: PLR2004
    return np.dtype("<f2" if narrow else "<f4")


def _vector_type(source: Source, column: str, packing: Packing) -> pa.DataType:
    shape = source.shape
    width = shape.width if column == next(iter(source.vectors)) else shape.dim
    return encode_vectors(
        np.empty((0, width), _vector_dtype(source, column, packing)), [], packing.encoding
    ).type


def _schema(source: Source, packing: Packing) -> pa.Schema:
    vectors = [(column, _vector_type(source, column, packing)) for column in source.vectors]
    return pa.schema([*(pa.field(name, kind) for name, kind in vectors), *source.others])
