"""What the shape of an array says of the vectors in it.

The rule: an array of three axes says all, (n, length, dim); one of two holds single vectors, or contexts in one piece,
which are cut as the targets beside them say, or into vectors of the usual width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.errors import ColumnError
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvm_batch.io.formats.numpy_files import Header

_USUAL = WindowShape()
_CONTEXT_AXES = 3
_SINGLE_AXES = 2


def is_single(header: Header) -> bool:
    """Whether an array can hold single vectors: rows of floats."""
    return header.dtype.kind == "f" and len(header.shape) == _SINGLE_AXES and header.shape[1] > 1


def single_shape(header: Header, what: str, shape: WindowShape | None) -> WindowShape:
    """Return the shape of a row of the array ``what`` of single vectors; raises :class:`ColumnError`."""
    dim = shape.dim if shape else header.shape[-1] if len(header.shape) == _SINGLE_AXES else _USUAL.dim
    check_width(header, what, length=1, dim=dim)
    return WindowShape(1, dim)


def context_shape(
    header: Header, what: str, shape: WindowShape | None, targets: Iterable[Header] = ()
) -> WindowShape:
    """Return the shape of a row of the array ``what`` of contexts; raises :class:`ColumnError`."""
    shape = shape or _measured(header, targets) or _USUAL
    check_width(header, what, length=shape.length, dim=shape.dim)
    return shape


def _measured(header: Header, targets: Iterable[Header]) -> WindowShape | None:
    """Return the shape that an array itself has, ``None`` if it has none."""
    _, *row = header.shape or (0,)
    if len(header.shape) == _CONTEXT_AXES:
        return WindowShape(*row)
    if len(header.shape) != _SINGLE_AXES:
        return None
    dims = (*(target.shape[-1] for target in targets if target.shape), _USUAL.dim, row[0] // _USUAL.length)
    dim = next((dim for dim in dims if dim and row[0] % dim == 0), None)
    return WindowShape(row[0] // dim, dim) if dim else None


def check_width(header: Header, what: str, *, length: int, dim: int) -> None:
    """Raise :class:`ColumnError` unless the array ``what`` has rows of ``length`` vectors of ``dim`` floats."""
    fits = [(length * dim,), (length, dim)] if length > 1 else [(dim,)]
    if header.dtype.kind != "f" or header.dtype.itemsize not in {2, 4, 8}:
        raise ColumnError(f"{what} holds {header.dtype}, not floats", "save it as float32 or float16")
    if not header.shape or header.shape[1:] not in fits:
        wanted = " or ".join(f"(n, {', '.join(map(str, fit))})" for fit in reversed(fits))
        raise ColumnError(f"{what} has the shape {header.shape}, not {wanted}", "save it with that shape")
