"""NPZ and NPY files as sources of rows.

The rule: the arrays of a source are read in step, one block of rows of each at a time.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.files import check_unchanged
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.formats.numpy_files import open_npz
from lvm_batch.io.packing.numpy_pairs import group_files
from lvm_batch.io.packing.numpy_roles import ArrayGroup, column_type, group_arrays
from lvm_batch.io.packing.sources import Block, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.formats.numpy_files import StoredArray
    from lvm_batch.io.packing.numpy_pairs import FileGroup
    from lvm_batch.io.packing.sources import Reading
    from lvm_batch.io.schema import WindowShape


@dataclass(frozen=True, slots=True)
class _ArrayRows:
    """The rows of several arrays, which ``opened`` opens, by the names of their columns."""

    path: str
    vectors: tuple[str, ...]
    others: pa.Schema
    opened: Callable[[], AbstractContextManager[Mapping[str, StoredArray]]]

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Read all columns in order, ``n_rows`` rows at a time."""
        for rows in self._rows([*self.vectors, *self.others.names], n_rows):
            vectors = {name: _flat(rows[name]) for name in self.vectors}
            yield Block(vectors, {}, self._table(rows, self.others))

    def columns(self, names: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        """Read some of the other columns."""
        schema = pa.schema([self.others.field(name) for name in names])
        for rows in self._rows(names, n_rows):
            yield self._table(rows, schema)

    def _rows(self, names: Sequence[str], n_rows: int) -> Iterator[Mapping[str, NDArray[Any]]]:
        with self.opened() as arrays:
            readers = [arrays[name].blocks(n_rows) for name in names]
            for parts in zip(*readers, strict=True):
                yield dict(zip(names, parts, strict=True))

    def _table(self, rows: Mapping[str, NDArray[Any]], schema: pa.Schema) -> pa.Table:
        columns = [_column(rows[field.name], field, self.path) for field in schema]
        return pa.table(columns, schema=schema)


def npz_sources(file: InputFile, reading: Reading) -> list[Source]:
    """Return a source for each part of an NPZ file; raises ``DataError``."""
    with open_npz(file.path, leave_out=reading.leave_out) as npz:
        arrays = npz.arrays
        headers = {name: array.header for name, array in arrays.items()}
        grouping = group_arrays(headers, file.path, shape=reading.shape, vectors=reading.given.get("vector"))
    left_out = grouping.left_out | dict.fromkeys(npz.other_members, "it is not an array")
    notices = tuple(f"{file.path}: `{name}` is left out: {reason}" for name, reason in left_out.items())

    def source(group: ArrayGroup) -> Source:
        names = {**group.vectors, **group.others}

        @contextmanager
        def opened() -> Iterator[Mapping[str, StoredArray]]:
            with open_npz(file.path, leave_out=reading.leave_out) as npz:
                yield {column: npz.arrays[name] for column, name in names.items()}

        found = {column: arrays[name] for column, name in names.items()}
        told = notices if group is grouping.groups[0] else ()
        vectors = tuple(group.vectors)
        return _source(file, found, opened, vectors, shape=group.shape, part=group.part, notices=told)

    return [source(group) for group in grouping.groups]


def npy_sources(files: Sequence[InputFile], reading: Reading) -> list[Source]:
    """Return a source for each NPY file of vectors, with what lies beside it in others; raises ``DataError``."""
    return [_npy_source(group) for group in group_files(files, reading)]


def _npy_source(group: FileGroup) -> Source:
    alone = f"{group.file.path} has only vectors: enough for `bank build`, but `run` also needs the article of each row"

    @contextmanager
    def opened() -> Iterator[Mapping[str, StoredArray]]:
        yield group.arrays
        for file in group.companions:
            check_unchanged(file)

    is_alone = group.shape.length == 1 and not group.companions
    return _source(
        group.file,
        group.arrays,
        opened,
        group.vectors,
        shape=group.shape,
        notices=(alone,) if is_alone else (),
    )


def _source(
    file: InputFile,
    arrays: Mapping[str, StoredArray],
    opened: Callable[[], AbstractContextManager[Mapping[str, StoredArray]]],
    vectors: tuple[str, ...],
    *,
    shape: WindowShape,
    part: str = "",
    notices: tuple[str, ...],
) -> Source:
    """Return the rows of ``arrays``, by the names of their columns, of which ``vectors`` hold vectors."""
    types = {name: array.header.dtype for name, array in arrays.items()}
    others = pa.schema([(name, column_type(dtype)) for name, dtype in types.items() if name not in vectors])
    rows = _ArrayRows(file.path, vectors, others, opened)
    return Source(
        file=file,
        part=part,
        n_rows=arrays[vectors[0]].header.shape[0],
        shape=shape,
        vectors={name: types[name] for name in vectors},
        others=others,
        notices=notices,
        blocks=rows.blocks,
        columns=rows.columns,
    )


def _flat(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.reshape(len(rows), -1)


def _column(values: NDArray[Any], field: pa.Field, path: str) -> pa.Array:
    try:
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if pa.types.is_date32(field.type):  # Arrow cuts days to 32 bits without a check
            days = pa.array(values.view(np.int64), mask=np.isnat(values))
            return days.cast(pa.int32()).cast(field.type)
        return pa.array(values).cast(field.type)
    except (pa.ArrowException, ValueError) as error:
        raise ColumnError(
            f"{path}: array `{field.name}` cannot become a column: {error}",
            f"leave it out: --leave-out {field.name}",
        ) from error
