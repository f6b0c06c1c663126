"""What a column's type says of the vectors in it.

The rule: a file is refused by its types, before a row is read; if a type leaves open how many floats a row has, the
rows are judged when they are decoded.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOATS: dict[Any, np.dtype[Any]] = {
    pa.float16(): np.dtype("<f2"),
    pa.float32(): np.dtype("<f4"),
    pa.float64(): np.dtype("<f8"),
}
"""Arrow's float types, each with NumPy's."""

BINARY_FLOATS: dict[Any, np.dtype[Any]] = {4: np.dtype("<f4"), 2: np.dtype("<f2")}
"""The float types in binary columns, by their bytes."""


def check_vector_type(arrow_type: pa.DataType, *, length: int, dim: int) -> str | None:
    """Return what is wrong with a column that should hold ``length`` vectors of ``dim`` floats, or ``None``.

    If ``length`` is more than one, lists of a fixed size may hold another whole number of vectors: such rows are cut
    or padded. Binary must have exactly the width of ``length`` vectors.
    """
    if pa.types.is_fixed_size_binary(arrow_type):
        widths = [length * dim * size for size in BINARY_FLOATS]
        if arrow_type.byte_width not in widths:
            return f"holds {arrow_type.byte_width} bytes a row, not {widths[0]} (float32) or {widths[1]} (float16)"
        return None
    if is_variable_binary(arrow_type):
        return None
    if not holds_vectors(arrow_type):
        return f"is {arrow_type}, not vectors of floats"
    *lists, _ = list_levels(arrow_type)
    return _check_sizes(arrow_type, [level.list_size for level in lists if is_fixed(level)], length, dim)


def vector_width(arrow_type: pa.DataType, *, usual: int) -> int | None:
    """Return the floats in each row of a column of single vectors, or ``None`` if the type does not say.

    Binary is float16 if that makes ``usual`` floats, and float32 otherwise.
    """
    if pa.types.is_fixed_size_binary(arrow_type):
        return usual if arrow_type.byte_width == 2 * usual else int(arrow_type.byte_width // 4)
    *lists, _ = list_levels(arrow_type)
    # A row of lists holds one of them.
    return int(lists[-1].list_size) if lists and is_fixed(lists[-1]) else None


def flat_width(arrow_type: pa.DataType) -> int | None:
    """Return the floats in each row if the type says how many, but not how many make a vector; else ``None``."""
    if pa.types.is_fixed_size_binary(arrow_type) or (
        isinstance(arrow_type, pa.FixedShapeTensorType) and len(arrow_type.shape) > 1
    ):
        return None  # the width of binary is checked, and a tensor has an axis of vectors
    *lists, _ = list_levels(arrow_type)
    return int(lists[0].list_size) if len(lists) == 1 and is_fixed(lists[0]) else None


def values_per_row(arrow_type: pa.DataType) -> int | None:
    """Return how many values of its column chunk a row takes, 1 for binary; ``None`` if rows may differ in that."""
    *lists, _ = list_levels(arrow_type)
    if not lists:
        return 1
    return prod(level.list_size for level in lists) if all(map(is_fixed, lists)) else None


def vector_dtype(arrow_type: pa.DataType, *, width: int) -> np.dtype[Any]:
    """Return the float type of a checked column that holds ``width`` floats a row; float32 if its rows tell it."""
    if pa.types.is_fixed_size_binary(arrow_type):
        return BINARY_FLOATS[arrow_type.byte_width // width]
    if is_variable_binary(arrow_type):
        return BINARY_FLOATS[4]
    return FLOATS[list(list_levels(arrow_type))[-1]]


def _check_sizes(arrow_type: pa.DataType, sizes: list[int], length: int, dim: int) -> str | None:
    if isinstance(arrow_type, pa.FixedShapeTensorType):
        if arrow_type.permutation is not None and list(arrow_type.permutation) != sorted(
            arrow_type.permutation
        ):
            return "is a tensor with permuted axes, which is not supported"
        if len(arrow_type.shape) > 1 and arrow_type.shape[-1] != dim:
            return f"holds tensors of shape {arrow_type.shape}, whose last axis is not {dim}"
    *outer, inner, _ = list_levels(arrow_type)
    if outer and is_fixed(inner) and inner.list_size != dim:
        return f"holds lists of {inner.list_size} floats, not of {dim}"
    width = int(np.prod(sizes)) * (dim if outer and not is_fixed(inner) else 1) if sizes else dim
    if length == 1 and width != dim:
        return f"holds {width} floats a row, not {dim}"
    if width == 0 or width % dim:
        return f"holds {width} floats a row, which is not a whole number of vectors of {dim}"
    return None


def list_levels(arrow_type: pa.DataType) -> Iterator[pa.DataType]:
    """Yield the list types from the outside in, then the leaf; an extension type counts as its storage."""
    while True:
        if isinstance(arrow_type, pa.BaseExtensionType):
            arrow_type = arrow_type.storage_type
        yield arrow_type
        if not any(is_kind(arrow_type) for is_kind in _LISTS):
            return
        arrow_type = arrow_type.value_type


def is_fixed(arrow_type: pa.DataType) -> bool:
    """Whether a type is of lists of one size."""
    return bool(pa.types.is_fixed_size_list(arrow_type))


def is_variable_binary(arrow_type: pa.DataType) -> bool:
    """Whether rows are bytes of any number, so that each row's float type follows from its own number of bytes."""
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_kind(arrow_type) for is_kind in kinds)


def is_list_view(arrow_type: pa.DataType) -> bool:
    """Whether rows are lists that may lie anywhere in the array of their values."""
    return bool(pa.types.is_list_view(arrow_type) or pa.types.is_large_list_view(arrow_type))


def holds_vectors(arrow_type: pa.DataType) -> bool:
    """Whether rows are lists of floats, lists of such lists, or bytes, which may be floats."""
    if pa.types.is_fixed_size_binary(arrow_type) or is_variable_binary(arrow_type):
        return True
    *lists, leaf = list_levels(arrow_type)
    return leaf in FLOATS and 1 <= len(lists) <= 2  # noqa: PLR2004 - a list of floats, or a list of lists


_LISTS = (is_fixed, pa.types.is_list, pa.types.is_large_list, is_list_view)
