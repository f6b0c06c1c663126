"""An output for its readers: as a lazy polars frame, or an Arrow dataset.

The rule: both give the same rows and columns, in the order of the inputs, and read only the columns and row groups that
are asked for. What is committed is looked up once, when the reader is made.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from lvm_batch.io.dataset.partitions import folder_schema, folder_values
from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.formats.common_schema import common_schema
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.output.committed import ReadFile, committed
from lvm_batch.io.schema import PREDICTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from lvm_batch.io.output.committed import Committed
    from lvm_batch.io.storage.locations import Location

_FOOTER_READERS = 32


def read_predictions(
    output: str | os.PathLike[str], *, require_success: bool = True, decode: bool = False
) -> pl.LazyFrame:
    """Return the rows of an output, a folder or a URL, as a lazy frame; only requested columns are read.

    Columns are those of the files, ``prediction``, where the job writes it, as ``pl.Array(pl.Float32, 768)``, and those
    in the names of folders: whole numbers, dates, or text. A job with ``--output-dtype int8`` has predictions as
    ``pl.Array(pl.Int8, 768)``, one with ``binary`` as ``pl.Binary`` of 96 bytes; with ``decode`` they are
    ``pl.Array(pl.Float32, 768)`` of unit norm, NaN where a row has none. Rows stand in the inputs' order. Without
    ``require_success``, what is committed so far.

    Raises ``InputNotFound`` where no job is, ``NotFinished`` for an output without ``_SUCCESS``, ``OutputError`` for
    one of a newer version or with files gone, ``ColumnError`` where files do not go together, or polars has no type
    for a column.
    """
    from lvm_batch.io.output.polars_scan import decoded, scan  # noqa: PLC0415 - Arrow's readers do not need polars

    found = committed(os.fspath(output), require_success=require_success)
    files = _files(found)
    columns = _unified(files)
    frame = scan(files, found.root, columns)
    return decoded(frame, columns) if decode else frame


def predictions_dataset(output: str | os.PathLike[str], *, require_success: bool = True) -> ds.Dataset:
    """Return the rows of an output, a folder or a URL, as a ``pyarrow.dataset.Dataset``, which DuckDB queries too.

    As :func:`read_predictions`, which see for columns, order and errors; ``decode_predictions`` makes unit vectors of
    its tables. Pages are held against their checksums, which polars does not do.
    """
    found = committed(os.fspath(output), require_success=require_success)
    files = _files(found)
    return ds.FileSystemDataset.from_paths(
        [file.place.path for file in files],
        schema=_unified(files),
        format=ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        ),
        filesystem=found.root.filesystem,
        partitions=[_folder_columns(file) for file in files],
    )


def _files(found: Committed) -> list[ReadFile]:
    """Read the columns of one file for each input: its other files have the same."""
    first = {file.input: found.root.child(file.name) for file in reversed(found.files)}
    with ThreadPoolExecutor(1 if found.root.is_local else _FOOTER_READERS) as pool:
        schemas = dict(zip(first, pool.map(_read_schema, first.values()), strict=True))
    own = {name for schema in schemas.values() for name in schema.names}
    folders = pa.schema([field for field in folder_schema(found.planned) if field.name not in own])
    return [
        ReadFile(found.root.child(file.name), schemas[file.input], folders, folder_values(file.name, folders))
        for file in found.files
    ]


def _read_schema(place: Location) -> pa.Schema:
    try:
        with open_parquet(place.text) as file:
            return file.schema_arrow.remove_metadata()
    except UnreadableFile as error:
        raise UnreadableFile(error.args[0], "check it with `lvm-batch verify`", place.text) from error


def _folder_columns(file: ReadFile) -> ds.Expression:
    """Return what holds for all rows of a file, from which Arrow fills the columns of its folders."""
    known = ds.scalar(True)  # noqa: FBT003 - an expression that says nothing
    for name, value in file.values.items():
        column = ds.field(name)
        is_so = (
            column.is_null() if value is None else column == pa.scalar(value, file.folders.field(name).type)
        )
        known &= is_so
    return known


def _unified(files: Sequence[ReadFile]) -> pa.Schema:
    """Return the columns of all files together; raises :class:`ColumnError` where types do not go together."""
    different = {file.schema: file.place.text for file in reversed(files)}
    own = common_schema([(text, _with_float32(schema)) for schema, text in reversed(different.items())])
    return pa.schema([*own, *files[0].folders])


def _with_float32(schema: pa.Schema) -> pa.Schema:
    place = schema.get_field_index(PREDICTION)
    if place < 0:  # the job leaves predictions out
        return schema
    field = schema.field(place)
    if not (pa.types.is_fixed_size_list(field.type) and field.type.value_type == pa.float16()):
        return schema
    return schema.set(place, field.with_type(pa.list_(pa.float32(), field.type.list_size)))
