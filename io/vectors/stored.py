"""Predictions as they are stored in a column: as floats, as codes of 8 bits, or as signs; and back to unit vectors.

The rule: a prediction has unit norm, so one scale serves all rows of all jobs. ``int8`` keeps 127 times each component,
rounded; ``binary`` keeps the sign of each component, eight in a byte, the first one in the highest bit. A row without a
prediction is NaN in floats, and zeros in the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lvm_batch.io.errors import ColumnError
from lvm_batch.io.schema import OK, PREDICTION, STATUS, STATUSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.schema import OutputDtype

    Floats = NDArray[np.float32]

LARGEST_CODE = 127
"""The code of 1 in ``int8``, and -127 that of -1: codes are symmetric, and no component of a unit vector is cut."""

_VALUES = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}


def stored_type(dtype: OutputDtype, dim: int) -> pa.DataType:
    """Return the Arrow type of predictions of ``dim`` components that are stored as ``dtype``."""
    return pa.binary(row_bytes(dtype, dim)) if dtype == "binary" else pa.list_(_VALUES[dtype], dim)


def row_bytes(dtype: OutputDtype, dim: int) -> int:
    """Return the bytes of a prediction of ``dim`` components, a multiple of 8 for ``binary``."""
    return dim // 8 if dtype == "binary" else dim * _VALUES[dtype].bit_width // 8


def stored_width(kind: pa.DataType) -> int:
    """Return the components of the predictions in a column of a type of `stored_type`."""
    return int(8 * kind.byte_width if pa.types.is_fixed_size_binary(kind) else kind.list_size)


def scale_of(dtype: OutputDtype, dim: int) -> float | None:
    """Return what a code, or a sign of 1 or -1, is multiplied by to be a component; ``None`` for floats."""
    return {"int8": 1 / LARGEST_CODE, "binary": dim**-0.5}.get(dtype)


def encode(vectors: Floats, kind: pa.DataType) -> pa.Array:
    """Return unit vectors, float32 (n, dim) with NaN in rows without one, as a column of a type of `stored_type`."""
    if pa.types.is_fixed_size_binary(kind):
        bits = np.packbits(vectors > 0, axis=1)
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(vectors), [None, pa.py_buffer(bits)])
    codes = kind.value_type == pa.int8()
    values = np.rint(np.nan_to_num(vectors) * np.float32(LARGEST_CODE)) if codes else vectors
    flat = values.reshape(-1).astype(kind.value_type.to_pandas_dtype(), copy=False)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind)


def decode_predictions(table: pa.Table | pa.RecordBatch) -> Floats:
    """Return the column ``prediction`` of rows of an output as unit vectors, float32 (n, dim).

    ``table`` is what a job wrote, such as ``predictions_dataset(OUT).to_table(columns=["prediction", "status"])``.
    Floats come as they are, codes of ``int8`` with unit norm, signs of ``binary`` as plus or minus 1 / sqrt(dim). Rows
    without a prediction are NaN; for ``binary`` the column ``status`` says which these are. Raises ``ColumnError``
    where a column is missing, or is not of a type that jobs write.
    """
    if PREDICTION not in table.schema.names:
        raise ColumnError(
            f"the table has no column `{PREDICTION}`", "select it; a job with --no-prediction has none"
        )
    column = table.column(PREDICTION)
    kind = column.type
    if pa.types.is_fixed_size_binary(kind):
        return _of_signs(column, _has_prediction(table))
    if not (pa.types.is_fixed_size_list(kind) and kind.value_type in _VALUES.values()):
        raise ColumnError(
            f"column `{PREDICTION}` is {kind}, which no job writes",
            "give rows of predictions_dataset, or read them with read_predictions(OUT, decode=True)",
        )
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    values = np.concatenate([np.empty(0, kind.value_type.to_pandas_dtype()), *map(_flat, chunks)])
    vectors = values.reshape(-1, kind.list_size).astype(np.float32)
    return _of_unit_norm(vectors) if kind.value_type == pa.int8() else vectors


def _flat(chunk: pa.FixedSizeListArray) -> NDArray[np.generic]:
    values: NDArray[np.generic] = chunk.flatten().to_numpy(zero_copy_only=False)
    return values


def _of_unit_norm(vectors: Floats) -> Floats:
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, np.newaxis]
    vectors /= np.where(norms > 0, norms, np.float32(np.nan))
    return vectors


def _of_signs(column: pa.Array | pa.ChunkedArray, known: NDArray[np.bool_]) -> Floats:
    width = column.type.byte_width
    packed = np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, width)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    vectors: Floats = signs / np.float32(np.sqrt(8 * width))
    vectors[~known] = np.nan
    return vectors


def _has_prediction(table: pa.Table | pa.RecordBatch) -> NDArray[np.bool_]:
    if STATUS not in table.schema.names:
        raise ColumnError(
            f"only the column `{STATUS}` says which rows have no prediction, and the table does not have it",
            f"select it beside `{PREDICTION}`",
        )
    known = pc.equal(table.column(STATUS).cast(pa.string()), STATUSES[OK])
    return np.asarray(known.to_numpy(zero_copy_only=False), np.bool_)
