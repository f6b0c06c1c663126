"""Vectors as Parquet files hold them, decoded to float32.

The rule: the same numbers give the same rows in every encoding, and a bad row keeps its place, filled with zeros, with
the reason beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lvm_batch.io.vectors.flaws import Flaws, find_bad_values
from lvm_batch.io.vectors.types import BINARY_FLOATS, FLOATS, is_fixed, is_list_view, is_variable_binary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.schema import Pad


@dataclass(frozen=True, slots=True)
class _Ragged:
    """Rows of floats, viewed without a copy: row ``i`` is ``values[edges[i]:edges[i + 1]]`` unless ``null[i]``.

    ``inner_width`` gives, for rows with inner lists of a wrong width, the first such width.
    """

    values: NDArray[Any]
    edges: NDArray[np.int64]
    null: NDArray[np.bool_]
    inner_width: dict[int, int]


def decode_vectors(array: pa.Array, out: NDArray[np.float32], *, pad: Pad | None = None) -> Flaws:
    """Decode one array of vectors into ``out``, of shape (rows, length, dim), float32, C-contiguous.

    A row of another number of vectors is cut to its last ``length`` ones or padded at the front as ``pad`` says;
    without ``pad`` it is bad. Bad rows are zeros in ``out``. A row of zeros is bad only if ``length`` is more than one:
    a single vector may be zero within a context that is not.
    """
    array = _storage(array)
    flaws = _decode_bytes(array, out) if is_variable_binary(array.type) else _decode_lists(array, out, pad)
    find_bad_values(out, flaws)
    for row in flaws.bad:
        out[row] = 0.0
        flaws.short.pop(row, None)
    return flaws


def decode_column(column: pa.ChunkedArray, out: NDArray[np.float32], *, pad: Pad | None = None) -> Flaws:
    """Decode a column of several chunks, as :func:`decode_vectors` decodes an array."""
    flaws = Flaws()
    first = 0
    for chunk in column.chunks:
        found = decode_vectors(chunk, out[first : first + len(chunk)], pad=pad)
        flaws.bad.update({first + row: reason for row, reason in found.bad.items()})
        flaws.short.update({first + row: k for row, k in found.short.items()})
        first += len(chunk)
    return flaws


def _decode_lists(array: pa.Array, out: NDArray[np.float32], pad: Pad | None) -> Flaws:
    """Decode rows of lists, or of bytes of one number, without a look at the values."""
    n_rows, length, dim = out.shape
    rows = _ragged(array, length, dim)
    flaws = Flaws(bad=dict.fromkeys(np.flatnonzero(rows.null).tolist(), "null"))
    widths = np.diff(rows.edges)
    if (widths == length * dim).all():
        _convert(rows.values[: n_rows * length * dim].reshape(out.shape), out)
    else:
        out[...] = 0.0
        for width in np.unique(widths[~rows.null]).tolist():
            members = np.flatnonzero((widths == width) & ~rows.null)
            _decode_width(rows, members, width, out, flaws, pad=pad)
    flaws.bad.update({row: f"wrong_length: {width}" for row, width in rows.inner_width.items()})
    return flaws


def _decode_bytes(array: pa.Array, out: NDArray[np.float32]) -> Flaws:
    """Decode rows of bytes of any number: each is float32 or float16 by its own number of bytes, or bad."""
    array = array.cast(pa.large_binary())  # views have no lengths and no one buffer
    width = out[0].size if len(out) else 0
    sizes = pc.binary_length(array).fill_null(-1).to_numpy().astype(np.int64)
    is_known = np.zeros(len(array), np.bool_)
    for itemsize, dtype in BINARY_FLOATS.items():
        members = np.flatnonzero(sizes == width * itemsize)
        if len(members):
            data = array.take(pa.array(members)).buffers()[2]  # rows that are taken lie one behind the other
            out[members] = np.frombuffer(memoryview(data), dtype, len(members) * width).reshape(
                -1, *out.shape[1:]
            )
            is_known[members] = True
    out[~is_known] = 0.0
    bad = {
        row: "null" if sizes[row] < 0 else f"wrong_length: {sizes[row] // 4}"
        for row in np.flatnonzero(~is_known).tolist()
    }
    return Flaws(bad=bad)


def _decode_width(
    rows: _Ragged,
    members: NDArray[np.int64],
    width: int,
    out: NDArray[np.float32],
    flaws: Flaws,
    *,
    pad: Pad | None,
) -> None:
    """Decode all rows that hold ``width`` floats."""
    _, length, dim = out.shape
    n_vectors, rest = divmod(width, dim)
    refused = (pad is None and n_vectors != length) or (pad == "reject" and n_vectors < length)
    if rest or n_vectors == 0 or refused:
        flaws.bad.update(dict.fromkeys(members.tolist(), f"wrong_length: {width}"))
        return
    kept = min(n_vectors, length)
    index = (rows.edges[members + 1] - kept * dim)[:, None] + np.arange(kept * dim)
    block = np.empty((len(members), kept, dim), np.float32)
    _convert(rows.values[index].reshape(block.shape), block)
    out[members, length - kept :] = block
    if kept < length:
        flaws.short.update(dict.fromkeys(members.tolist(), kept))
        if pad == "repeat":
            out[members, : length - kept] = block[:, :1]


def _convert(source: NDArray[Any], out: NDArray[np.float32]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes inf, which is bad
        np.copyto(out, source, casting="same_kind")


def _ragged(array: pa.Array, length: int, dim: int) -> _Ragged:
    """View an array of lists, or of bytes of one number, as rows of floats."""
    null = _null_mask(array)
    if pa.types.is_fixed_size_binary(array.type):
        return _Ragged(
            _binary_values(array, length * dim), np.arange(len(array) + 1) * (length * dim), null, {}
        )
    edges, child = _open_list(array)
    inner_width: dict[int, int] = {}
    if not pa.types.is_floating(child.type):
        _mark_parents(null, edges, child)
        inner_edges, leaf = _open_list(child)
        inner_width = _wrong_inner_widths(edges, np.diff(inner_edges), null, dim)
        edges, child = inner_edges[edges], leaf
    _mark_parents(null, edges, child)
    return _Ragged(_values(child), edges, null, inner_width)


def _storage(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _open_list(array: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """Return the edges of the lists, from 0, and the child array that they cut, without values outside a slice."""
    if is_list_view(array.type):
        sizes = pc.list_value_length(array).fill_null(0).to_numpy().astype(np.int64)
        return np.concatenate(([0], np.cumsum(sizes))), _storage(array.flatten())
    if is_fixed(array.type):
        edges = (array.offset + np.arange(len(array) + 1, dtype=np.int64)) * array.type.list_size
    else:
        edges = array.offsets.to_numpy().astype(np.int64)
    child = array.values.slice(edges[0], edges[-1] - edges[0])
    return edges - edges[0], _storage(child)


def _null_mask(array: pa.Array) -> NDArray[np.bool_]:
    if array.null_count == 0:
        return np.zeros(len(array), np.bool_)
    mask: NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    return mask.copy()


def _mark_parents(null: NDArray[np.bool_], edges: NDArray[np.int64], child: pa.Array) -> None:
    """Mark the rows in which a child is null."""
    if child.null_count:
        positions = np.flatnonzero(_null_mask(child))
        null[np.searchsorted(edges, positions, side="right") - 1] = True


def _wrong_inner_widths(
    edges: NDArray[np.int64], widths: NDArray[np.int64], null: NDArray[np.bool_], dim: int
) -> dict[int, int]:
    """Find rows that add up to whole vectors although an inner list has another width."""
    found: dict[int, int] = {}
    for position in np.flatnonzero(widths != dim).tolist():
        row = int(np.searchsorted(edges, position, side="right")) - 1
        adds_up = widths[edges[row] : edges[row + 1]].sum() % dim == 0
        if adds_up and not null[row]:
            found.setdefault(row, int(widths[position]))
    return found


def _binary_values(array: pa.Array, width: int) -> NDArray[Any]:
    dtype = BINARY_FLOATS[array.type.byte_width // width]
    buffer = array.buffers()[1]
    if buffer is None:
        return np.empty(0, dtype)
    return np.frombuffer(memoryview(buffer), dtype)[
        array.offset * width : (array.offset + len(array)) * width
    ]


def _values(leaf: pa.Array) -> NDArray[Any]:
    """Return the numbers of a flat array; the number under a null is undefined."""
    dtype = FLOATS[leaf.type]
    buffer = leaf.buffers()[1]
    if buffer is None:
        return np.empty(0, dtype)
    return np.frombuffer(memoryview(buffer), dtype)[leaf.offset : leaf.offset + len(leaf)]
