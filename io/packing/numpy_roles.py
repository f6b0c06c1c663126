"""Which array of an NPZ file plays which part.

The rule: everything that can be wrong with a file's arrays is found here, from their shapes and types alone, and an
array that fits no part is named and left out, never guessed at.

Names are those that production writes: contexts under ``context_sequences`` or ``contexts``, targets under
``target_vectors`` or ``targets``, both with an optional prefix for the part of the data that they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.column_checks import nearest
from lvm_batch.io.errors import ColumnError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.io.formats.numpy_files import Header
    from lvm_batch.io.schema import WindowShape

CONTEXTS = ("context_sequences", "contexts")
TARGETS = ("target_vectors", "targets")
_MAX_TEXT_BYTES = 2**16  # every row of an array of texts takes the bytes of the longest text
PREFIXES = ("train_", "val_", "test_")


@dataclass(frozen=True, slots=True)
class ArrayGroup:
    """Arrays whose rows belong together: ``vectors`` and ``others`` map columns to the names of their arrays.

    ``part`` is ``train``, ``val``, ``test``, or empty if the names have no prefix.
    """

    part: str
    n_rows: int
    vectors: dict[str, str]
    others: dict[str, str]


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of a file, and the reason for each array that is left out, by its name."""

    groups: tuple[ArrayGroup, ...]
    left_out: dict[str, str]


def group_arrays(headers: Mapping[str, Header], path: str, *, shape: WindowShape) -> Grouping:
    """Give each array of the file at ``path`` its part; raises :class:`ColumnError`."""
    contexts = {prefix: _one_of(headers, path, prefix, CONTEXTS) for prefix in ("", *PREFIXES)}
    prefixes = [prefix for prefix, name in contexts.items() if name]
    if not prefixes:
        raise _no_contexts(headers, path)
    left_out: dict[str, str] = {}
    groups = []
    for prefix in prefixes:
        vectors = _vectors(headers, path, prefix, shape)
        n_rows = headers[vectors["context"]].shape[0]
        others = _others(headers, prefix, prefixes, n_rows, left_out)
        groups.append(ArrayGroup(prefix.rstrip("_"), n_rows, vectors, others))
    used = {name for group in groups for name in (*group.vectors.values(), *group.others.values())}
    _refuse_lonely_targets(headers, path, used)
    for name in headers.keys() - used - left_out.keys():
        left_out[name] = f"its name begins with none of {', '.join(prefixes)}"
    return Grouping(tuple(groups), {name: left_out[name] for name in headers if name in left_out})


def check_width(header: Header, what: str, *, length: int, dim: int) -> None:
    """Raise :class:`ColumnError` unless the array ``what`` has rows of ``length`` vectors of ``dim`` floats."""
    fits = [(length * dim,), (length, dim)] if length > 1 else [(dim,)]
    if header.dtype.kind != "f" or header.dtype.itemsize not in {2, 4, 8}:
        raise ColumnError(f"{what} holds {header.dtype}, not floats", "save it as float32 or float16")
    if not header.shape or header.shape[1:] not in fits:
        wanted = " or ".join(f"(n, {', '.join(map(str, fit))})" for fit in reversed(fits))
        raise ColumnError(f"{what} has the shape {header.shape}, not {wanted}", "save it with that shape")


def column_type(dtype: np.dtype[Any]) -> pa.DataType | None:
    """Return the column type for an array of one value a row, or ``None`` if there is none."""
    if dtype.kind in "US":
        return pa.string() if 0 < dtype.itemsize <= _MAX_TEXT_BYTES else None
    if dtype.kind not in "biufmM" or dtype.itemsize > 8:  # noqa: PLR2004 - Arrow has no wider numbers
        return None
    if dtype.kind in "mM" and np.datetime_data(dtype)[1] != 1:
        return None  # Arrow has no units of 25 seconds, and would take them for seconds
    try:
        return pa.from_numpy_dtype(dtype.newbyteorder("="))
    except pa.ArrowNotImplementedError:
        return None


def _one_of(headers: Mapping[str, Header], path: str, prefix: str, names: tuple[str, ...]) -> str | None:
    found = [prefix + name for name in names if prefix + name in headers]
    if len(found) > 1:
        raise ColumnError(
            f"{path} has both `{found[0]}` and `{found[1]}`, which mean the same",
            f"leave one out: --leave-out {found[1]}",
        )
    return found[0] if found else None


def _vectors(headers: Mapping[str, Header], path: str, prefix: str, shape: WindowShape) -> dict[str, str]:
    found = {
        "context": _one_of(headers, path, prefix, CONTEXTS),
        "target": _one_of(headers, path, prefix, TARGETS),
    }
    vectors = {column: name for column, name in found.items() if name}
    for column, name in vectors.items():
        length = shape.length if column == "context" else 1
        check_width(headers[name], f"{path}: array `{name}`", length=length, dim=shape.dim)
    n_contexts, *n_targets = (headers[name].shape[0] for name in vectors.values())
    if n_targets and n_targets[0] != n_contexts:
        raise ColumnError(
            f"{path}: `{vectors['context']}` has {n_contexts:,} rows, but `{vectors['target']}` has {n_targets[0]:,}",
            "save the file again with a target for each context",
        )
    return vectors


def _others(
    headers: Mapping[str, Header], prefix: str, prefixes: list[str], n_rows: int, left_out: dict[str, str]
) -> dict[str, str]:
    """Find the columns that belong to the contexts of ``prefix``; add the others to ``left_out``, with reasons."""
    columns = {"context": "", "target": ""}
    for name, column in _members(headers, prefix, prefixes):
        if column in (*CONTEXTS, *TARGETS):
            continue
        reason = _unfit(headers[name], n_rows)
        if reason is None and column in columns:
            reason = f"there is a column `{column}` already"
        if reason is None:
            columns[column] = name
        else:
            left_out[name] = reason
    return {column: name for column, name in columns.items() if name}


def _members(headers: Mapping[str, Header], prefix: str, prefixes: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the arrays of ``prefix`` and their columns; if there is one group only, it also has the bare names."""
    others = tuple(other for other in PREFIXES if other in prefixes and other != prefix)
    for name in headers:
        if prefix and name.startswith(prefix):
            yield name, name.removeprefix(prefix)
        elif (not prefix or len(prefixes) == 1) and not name.startswith(others or "\0"):
            yield name, name


def _unfit(header: Header, n_rows: int) -> str | None:
    if len(header.shape) != 1:
        return f"it has the shape {header.shape}, not one value a row"
    if header.shape[0] != n_rows:
        return f"it has {header.shape[0]:,} values for {n_rows:,} rows"
    if column_type(header.dtype) is None:
        return f"no column can hold {header.dtype}"
    return None


def _refuse_lonely_targets(headers: Mapping[str, Header], path: str, used: set[str]) -> None:
    lonely = [prefix + name for prefix in ("", *PREFIXES) for name in TARGETS if prefix + name in headers]
    for name in lonely:
        if name not in used:
            prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
            wanted = " or ".join(f"`{prefix}{context}`" for context in CONTEXTS)
            raise ColumnError(
                f"{path} has `{name}`, but no {wanted}",
                f"add the contexts, or leave the targets out: --leave-out {name}",
            )


def _no_contexts(headers: Mapping[str, Header], path: str) -> ColumnError:
    wanted = " or ".join(f"`{name}`" for name in CONTEXTS)
    found = (
        ", ".join(f"`{name}` {header.shape}" for name, header in list(headers.items())[:12]) or "no arrays"
    )
    near = next(filter(None, (nearest(name, headers) for name in CONTEXTS)), None)
    hint = f"did you mean `{near}`? Save it as `{CONTEXTS[0]}`" if near else f"save the contexts as {wanted}"
    return ColumnError(f"{path} has no array {wanted}; it has {found}", hint)
