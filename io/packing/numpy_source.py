"""NPZ and NPY files as sources of rows.

The rule: the arrays of a file are read in step, one block of rows of each at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.errors import ColumnError
from lvm_batch.io.formats.numpy_files import open_npy, open_npz
from lvm_batch.io.packing.numpy_roles import ArrayGroup, check_width, column_type, group_arrays
from lvm_batch.io.packing.sources import Block, Source, stem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.packing.sources import Reading


def npz_sources(file: InputFile, reading: Reading) -> list[Source]:
    """Return a source for each part of an NPZ file; raises ``DataError``."""
    with open_npz(file.path, leave_out=reading.leave_out) as npz:
        headers = {name: array.header for name, array in npz.arrays.items()}
        grouping = group_arrays(headers, file.path, shape=reading.shape)
    left_out = grouping.left_out | dict.fromkeys(npz.other_members, "it is no array")
    notices = [f"{file.path}: `{name}` is left out: {reason}" for name, reason in left_out.items()]

    def source(group: ArrayGroup) -> Source:
        types = {column: headers[name].dtype for column, name in group.others.items()}
        schema = pa.schema([(column, column_type(dtype)) for column, dtype in types.items()])
        return Source(
            path=file.path,
            part=group.part,
            stem=stem_of(file, group.part),
            n_rows=group.n_rows,
            length=reading.shape.length,
            vectors={column: headers[name].dtype for column, name in group.vectors.items()},
            others=schema,
            notices=tuple(_notices_of(notices, group, grouping.groups[0])),
            blocks=lambda n_rows: _npz_blocks(file.path, group, schema, reading, n_rows),
        )

    return [source(group) for group in grouping.groups]


def _notices_of(notices: list[str], group: ArrayGroup, first: ArrayGroup) -> Iterator[str]:
    yield from notices if group is first else ()


def _npz_blocks(
    path: str, group: ArrayGroup, schema: pa.Schema, reading: Reading, n_rows: int
) -> Iterator[Block]:
    wanted = {**group.vectors, **group.others}
    with open_npz(path, leave_out=reading.leave_out) as npz:
        readers = [npz.arrays[name].blocks(n_rows) for name in wanted.values()]
        for parts in zip(*readers, strict=True):
            rows = dict(zip(wanted, parts, strict=True))
            vectors = {column: _flat(rows[column]) for column in group.vectors}
            columns = [_column(rows[field.name], field, path) for field in schema]
            yield Block(vectors, {}, pa.table(columns, schema=schema))


def npy_source(file: InputFile, reading: Reading) -> Source:
    """Return the contexts, or the single vectors, of an NPY file; raises ``DataError``."""
    array, shape = open_npy(file.path), reading.shape
    single = array.header.shape[1:] == (shape.dim,)
    check_width(array.header, file.path, length=1 if single else shape.length, dim=shape.dim)
    column = "vector" if single else "context"
    alone = (
        f"{file.path} holds vectors alone: enough for `bank build`, but `run` also needs the article of each"
    )
    no_columns = pa.schema([])

    def blocks(n_rows: int) -> Iterator[Block]:
        for rows in array.blocks(n_rows):
            yield Block({column: _flat(rows)}, {}, no_columns.empty_table())

    return Source(
        path=file.path,
        part="",
        stem=stem_of(file),
        n_rows=array.header.shape[0],
        length=1 if single else shape.length,
        vectors={column: array.header.dtype},
        others=no_columns,
        notices=(alone,) if single else (),
        blocks=blocks,
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
