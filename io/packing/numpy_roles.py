"""Which array of an NPZ file plays which part.

The rule: everything that can be wrong with a file's arrays is found here, from their shapes and types alone, and an
array that fits no part is named and left out, never guessed at.

Names are those that production writes: contexts under ``context_sequences`` or ``contexts``, targets under
``target_vectors`` or ``targets``, both with an optional prefix for the part of the data that they hold. Where there are
no contexts, single vectors are looked for under the names that people use, such as ``embeddings``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.column_checks import nearest
from lvm_batch.io.discovery.part_names import is_like_target, is_like_vector
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.packing.numpy_shapes import check_width, context_shape, is_single, single_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.io.formats.numpy_files import Header
    from lvm_batch.io.schema import WindowShape

CONTEXTS = ("context_sequences", "contexts")
TARGETS = ("target_vectors", "targets")
_MAX_TEXT_BYTES = 2**16  # every row of an array of texts takes the bytes of the longest text
_AXES = 3  # of an array of contexts: rows, vectors, components
PREFIXES = ("train_", "val_", "test_")


@dataclass(frozen=True, slots=True)
class ArrayGroup:
    """Arrays whose rows belong together: ``vectors`` and ``others`` map columns to the names of their arrays.

    ``part`` is ``train``, ``val``, ``test``, or empty if the names have no prefix. ``shape`` is that of a row of the
    first column of vectors.
    """

    part: str
    n_rows: int
    shape: WindowShape
    vectors: dict[str, str]
    others: dict[str, str]


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of a file, and the reason for each array that is left out, by its name."""

    groups: tuple[ArrayGroup, ...]
    left_out: dict[str, str]


def group_arrays(
    headers: Mapping[str, Header], path: str, *, shape: WindowShape | None = None, vectors: str | None = None
) -> Grouping:
    """Give each array of the file at ``path`` its part; raises :class:`ColumnError`.

    ``shape`` is what contexts must have, if that is known; else it is measured. ``vectors`` names the array of single
    vectors.
    """
    found = {prefix: _vectors(headers, path, prefix, vectors) for prefix in ("", *PREFIXES)}
    prefixes = [prefix for prefix, arrays in found.items() if arrays]
    if not prefixes:
        found[""] = _only_contexts(headers) or {"vector": _only_vectors(headers, path)}
        prefixes = [""]
    left_out: dict[str, str] = {}
    groups = []
    for prefix in prefixes:
        arrays = found[prefix]
        row_shape = _check_shapes(headers, path, arrays, shape)
        n_rows = headers[next(iter(arrays.values()))].shape[0]
        others = _others(headers, prefix, prefixes, n_rows=n_rows, left_out=left_out, vectors=arrays)
        groups.append(ArrayGroup(prefix.rstrip("_"), n_rows, row_shape, arrays, others))
    used = {name for group in groups for name in (*group.vectors.values(), *group.others.values())}
    _refuse_lonely_targets(headers, path, used)
    for name in headers.keys() - used - left_out.keys():
        left_out[name] = f"its name begins with none of {', '.join(prefixes)}"
    return Grouping(tuple(groups), {name: left_out[name] for name in headers if name in left_out})


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


def _vectors(headers: Mapping[str, Header], path: str, prefix: str, named: str | None) -> dict[str, str]:
    """Return the arrays of contexts and targets, or of single vectors, by their columns; none if there are none."""
    if named is not None:
        return {"vector": prefix + named} if prefix + named in headers else {}
    if context := _one_of(headers, path, prefix, CONTEXTS):
        target = _one_of(headers, path, prefix, TARGETS)
        return {"context": context} | ({"target": target} if target else {})
    able = [name for name in headers if _is_single_of(name, headers[name], prefix)]
    if len(able) > 1:
        raise ColumnError(
            f"{path} has both `{able[0]}` and `{able[1]}`, which can be the vectors",
            f"say which: --vector-column {able[0].removeprefix(prefix)}",
        )
    return {"vector": able[0]} if able else {}


def _is_single_of(name: str, header: Header, prefix: str) -> bool:
    """Whether an array of ``prefix`` has the name and the shape of one of single vectors."""
    bare = name.removeprefix(prefix)
    if not name.startswith(prefix) or bare.startswith(PREFIXES) or bare in (*CONTEXTS, *TARGETS):
        return False
    return is_single(header) and is_like_vector(bare) and not is_like_target(bare)


def _only_contexts(headers: Mapping[str, Header]) -> dict[str, str]:
    """Return the only array of contexts, such as `X`, and its targets, such as `y`; nothing if a usual name is near."""
    able = [
        name for name, header in headers.items() if len(header.shape) == _AXES and header.dtype.kind == "f"
    ]
    if len(able) != 1 or any(nearest(name, headers) for name in CONTEXTS):
        return {}
    n_rows, _, dim = headers[able[0]].shape
    targets = [
        name for name, header in headers.items() if header.shape == (n_rows, dim) and is_like_target(name)
    ]
    return {"context": able[0]} | ({"target": targets[0]} if len(targets) == 1 else {})


def _only_vectors(headers: Mapping[str, Header], path: str) -> str:
    """Return the only array that can hold single vectors, whatever its name."""
    able = [name for name, header in headers.items() if is_single(header) and not is_like_target(name)]
    if len(able) != 1 or any(nearest(name, headers) for name in CONTEXTS):
        raise _no_vectors(headers, path, able)
    return able[0]


def _check_shapes(
    headers: Mapping[str, Header], path: str, arrays: Mapping[str, str], shape: WindowShape | None
) -> WindowShape:
    """Return the shape of a row; raises :class:`ColumnError` if the arrays do not go together."""
    (column, first), *others = arrays.items()
    targets = [headers[name] for _, name in others]
    what = f"{path}: array `{first}`"
    row = (
        single_shape(headers[first], what, shape)
        if column == "vector"
        else context_shape(headers[first], what, shape, targets)
    )
    for _, name in others:
        check_width(headers[name], f"{path}: array `{name}`", length=1, dim=row.dim)
        if headers[name].shape[0] != headers[first].shape[0]:
            raise ColumnError(
                f"{path}: `{first}` has {headers[first].shape[0]:,} rows, but `{name}` has {headers[name].shape[0]:,}",
                "save the file again with a target for each context",
            )
    return row


def _others(
    headers: Mapping[str, Header],
    prefix: str,
    prefixes: list[str],
    *,
    n_rows: int,
    left_out: dict[str, str],
    vectors: Mapping[str, str],
) -> dict[str, str]:
    """Find the columns that belong to the ``vectors`` of ``prefix``; add the others to ``left_out``, with reasons."""
    columns = dict.fromkeys((*vectors, "target"), "")
    for name, column in _members(headers, prefix, prefixes):
        if column in (*CONTEXTS, *TARGETS) or name in vectors.values():
            continue
        reason = unfit(headers[name], n_rows)
        if reason is None and column in columns:
            reason = f"there already is a column `{column}`"
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


def unfit(header: Header, n_rows: int) -> str | None:
    """Return why an array cannot be a column of ``n_rows`` values, ``None`` if it can."""
    if len(header.shape) != 1:
        return f"it has the shape {header.shape}, not one value per row"
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


def _no_vectors(headers: Mapping[str, Header], path: str, able: list[str]) -> ColumnError:
    wanted = " or ".join(f"`{name}`" for name in CONTEXTS)
    found = (
        ", ".join(f"`{name}` {header.shape}" for name, header in list(headers.items())[:12]) or "no arrays"
    )
    near = next(filter(None, (nearest(name, headers) for name in CONTEXTS)), None)
    hint = f"did you mean `{near}`? Save it as `{CONTEXTS[0]}`" if near else f"save the contexts as {wanted}"
    if able:
        hint = f"{hint}; or name the array of single vectors: --vector-column {able[0]}"
    return ColumnError(f"{path} has no array {wanted}, nor one of single vectors; it has {found}", hint)
