"""Files of predictions, scanned by polars.

The rule: as few scans as there are kinds of files, since polars takes the longer over a union the more parts it has.
What polars would make of a path by itself, we know beforehand: it takes every `name=value` in it, also above the
output, and lets it win over a column of the file. Where that would be wrong, values are put in as constants.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from lvm_batch.io.formats.polars_types import refuse_unknown
from lvm_batch.io.schema import PREDICTION, STATUS
from lvm_batch.io.storage.bucket_access import AWS_KEYS, EXTRAS, aws_access, plain_aws_options
from lvm_batch.io.vectors.stored import decode_predictions, stored_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.output.committed import ReadFile
    from lvm_batch.io.storage.locations import Location

_PLAIN_PART = re.compile(r"[^=*?%]+=[^=*?]*")


def scan(files: Sequence[ReadFile], root: Location, columns: pa.Schema) -> pl.LazyFrame:
    """Return the rows of ``files`` below ``root``, in order, as ``columns``, whose types hold those of every file.

    Raises :class:`ColumnError` for a column that polars has no type for.
    """
    for schema in dict.fromkeys([columns, *(file.schema for file in files)]):
        refuse_unknown(schema, root.text)
    access = _access(root)
    scans = [_scan(list(group), columns, access) for _, group in groupby(files, key=_kind)]
    # Not relaxed: polars would find types of its own, and round.
    frame = pl.concat(scans, how="diagonal") if len(scans) > 1 else scans[0]
    return frame.select(columns.names)


def decoded(frame: pl.LazyFrame, columns: pa.Schema) -> pl.LazyFrame:
    """Return a frame, of files with these ``columns``, whose predictions are unit vectors of float32."""
    if PREDICTION not in columns.names:  # the job leaves predictions out
        return frame
    kind = columns.field(PREDICTION).type
    wanted = pl.Array(pl.Float32, stored_width(kind))

    def decode(rows: pl.Series) -> pl.Series:
        table = rows.struct.unnest().to_arrow()
        stored = table[PREDICTION].cast(kind)  # polars has no binary of a fixed width
        vectors = decode_predictions(pa.table({PREDICTION: stored, STATUS: table[STATUS]}))
        return pl.Series(rows.name, vectors, wanted)

    codes = pl.struct(PREDICTION, STATUS)
    return frame.with_columns(
        codes.map_batches(decode, return_dtype=wanted, is_elementwise=True).alias(PREDICTION)
    )


def _kind(file: ReadFile) -> tuple[Any, ...]:
    """What files must have in common to be scanned together: columns, and values where polars cannot find them."""
    found = _finds_values(file)
    return file.schema, found, tuple(file.values) if found else tuple(file.values.items())


def _finds_values(file: ReadFile) -> bool:
    """Whether polars finds in the path just the folders' values, or besides such as can be dropped."""
    parts = _parts(file)
    names = [part.partition("=")[0] for part in parts]
    clashes = set(names) & set(file.schema.names)
    return len(set(names)) == len(names) and not clashes and all(map(_PLAIN_PART.fullmatch, parts))


def _parts(file: ReadFile) -> list[str]:
    return [part for part in file.place.text.split("/")[:-1] if "=" in part]


def _scan(files: list[ReadFile], columns: pa.Schema, access: dict[str, Any]) -> pl.LazyFrame:
    first = files[0]
    if first.values and _finds_values(first):
        frame = _scan_with_folders(files, access)
    else:
        constants = (pl.lit(value, _type_of(first, name)).alias(name) for name, value in first.values.items())
        frame = pl.scan_parquet(_paths(files), glob=False, hive_partitioning=False, **access).with_columns(
            constants
        )
    return _with_types(frame, first.schema, columns)


def _with_types(frame: pl.LazyFrame, own: pa.Schema, columns: pa.Schema) -> pl.LazyFrame:
    """Give the columns of a frame, of files with the columns ``own``, the types of ``columns``.

    What has no room there, such as a time beyond nanoseconds, is an error when it is read.
    """
    different = [name for name in own.names if own.field(name).type != columns.field(name).type]
    empty = [name for name in different if pa.types.is_null(own.field(name).type)]
    wanted = pl.DataFrame(pa.schema(map(columns.field, different)).empty_table()).schema
    return frame.with_columns(
        pl.col(name).cast(kind) for name, kind in wanted.items() if name not in empty
    ).drop(empty)


def _scan_with_folders(files: list[ReadFile], access: dict[str, Any]) -> pl.LazyFrame:
    """Let polars find the folders' values, so that a filter on them passes over whole files."""
    first = files[0]
    seen = [part.partition("=")[0] for part in _parts(first)]
    above = [name for name in seen if name not in first.values]
    types = {name: pl.String() if name in above else _type_of(first, name) for name in seen}
    frame = pl.scan_parquet(_paths(files), glob=False, hive_partitioning=True, hive_schema=types, **access)
    return frame.drop(above)


def _paths(files: list[ReadFile]) -> list[str]:
    return [file.place.text for file in files]


def _type_of(file: ReadFile, name: str) -> pl.DataType:
    kind = file.folders.field(name).type
    return pl.Int64() if pa.types.is_int64(kind) else pl.Date() if pa.types.is_date32(kind) else pl.String()


def _access(root: Location) -> dict[str, Any]:
    """Return how polars gets at ``root``: in S3 as the rest of this room does, elsewhere as it does by itself."""
    if root.is_local or EXTRAS[root.text.partition("://")[0]] != "s3":
        return {}
    found = aws_access()
    credentials, options = found.get("credential_provider"), plain_aws_options(found)
    if credentials is None:
        return {"storage_options": options, "credential_provider": None}
    static = {name: value for name, value in options.items() if name not in AWS_KEYS}

    def provided() -> tuple[dict[str, str], int]:
        now = plain_aws_options(found)
        return {name: now[name] for name in AWS_KEYS if name in now}, int(
            credentials()["expires_at"].timestamp()
        )

    return {"storage_options": static, "credential_provider": provided}
