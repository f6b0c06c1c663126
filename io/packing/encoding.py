"""Vectors encoded for Parquet: fixed-size binary, or fixed-size lists.

The rule: values change only by rounding to the type they are stored in, and no row is lost or moved.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from lvm_batch.io.errors import UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.packing.sources import Block, Source
    from lvm_batch.io.schema import OutputDtype, WindowShape

Encoding = Literal["fixed_size_binary", "fixed_size_list"]

_BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Packing:
    """How rows are written; without ``dtype``, float16 if the source is float16, else float32.

    A file has ``file_rows`` rows, or as many whole row groups as ``file_bytes`` of float32 vectors fill.
    """

    shape: WindowShape
    encoding: Encoding = "fixed_size_binary"
    dtype: OutputDtype | None = None
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


class PackedRows:
    """The rows of a source, read and encoded in blocks of at most ``most_rows``, to be taken in any number."""

    def __init__(self, source: Source, packing: Packing, *, most_rows: int) -> None:
        self.schema = _schema(source, packing)
        self.source = source
        self._packing = packing
        self._blocks = source.blocks(min(_BLOCK_ROWS, most_rows))
        self._rest = self.schema.empty_table()
        self._n_null: Counter[str] = Counter()
        self._n_padded = self._n_overflown = 0

    def take(self, n_rows: int) -> pa.Table:
        """Return the next ``n_rows`` rows; raises :class:`UnreadableFile` if the source has fewer."""
        parts = [self._rest]
        missing = n_rows - self._rest.num_rows
        while missing > 0:
            block = next(self._blocks, None)
            if block is None:
                path = self.source.path
                raise UnreadableFile(
                    f"{path} has {missing:,} rows less than it promises", "write the file again", path
                )
            parts.append(self._encoded(block))
            missing -= parts[-1].num_rows
        table = pa.concat_tables(parts)
        self._rest = table.slice(n_rows)
        return table.slice(0, n_rows)

    def notices(self) -> Iterator[str]:
        """Yield what the user should know of rows that were changed."""
        empty = "null" if self._packing.encoding == "fixed_size_binary" else "filled with NaN"
        context, *others = self.source.vectors
        changes = [
            (
                self._n_null[context],
                f"hold no vectors of the right length: they are {empty}, and a run finds them bad",
            ),
            *(
                (
                    self._n_null[column],
                    f"hold no {column} of the right length: it is {empty}, and they get no cosine",
                )
                for column in others
            ),
            (self._n_padded, "have a short context, which was filled up"),
            (
                self._n_overflown,
                "hold values too large for their new type, now infinite: a run finds them bad",
            ),
        ]
        for n_rows, what in changes:
            if n_rows:
                yield f"{self.source.path}: {n_rows:,} rows {what}"

    def _encoded(self, block: Block) -> pa.Table:
        self._n_padded += block.padded
        self._n_null.update({column: len(rows) for column, rows in block.null.items()})
        columns = [self._encode(column, rows, block) for column, rows in block.vectors.items()]
        return pa.Table.from_arrays([*columns, *block.others.columns], schema=self.schema)

    def _encode(self, column: str, rows: NDArray[Any], block: Block) -> pa.Array:
        dtype = _vector_dtype(self.source, column, self._packing)
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = np.ascontiguousarray(rows, dtype)
        if dtype.itemsize < rows.dtype.itemsize:
            overflown = np.isinf(narrow).any(axis=1) & np.isfinite(rows).all(axis=1)
            self._n_overflown += int(overflown.sum())
        return encode_vectors(narrow, block.null.get(column, []), self._packing.encoding)


def _vector_dtype(source: Source, column: str, packing: Packing) -> np.dtype[Any]:
    narrow = packing.dtype == "float16" or (packing.dtype is None and source.vectors[column].itemsize == 2)  # noqa: PLR2004
    return np.dtype("<f2" if narrow else "<f4")


def _vector_type(source: Source, column: str, packing: Packing) -> pa.DataType:
    width = packing.shape.dim * (source.length if column == next(iter(source.vectors)) else 1)
    return encode_vectors(
        np.empty((0, width), _vector_dtype(source, column, packing)), [], packing.encoding
    ).type


def _schema(source: Source, packing: Packing) -> pa.Schema:
    vectors = [(column, _vector_type(source, column, packing)) for column in source.vectors]
    return pa.schema([*(pa.field(name, kind) for name, kind in vectors), *source.others])
