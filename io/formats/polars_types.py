"""Types that Arrow writes to Parquet and polars does not have.

The rule: they are refused before polars meets them, since it panics at some.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from lvm_batch.io.errors import ColumnError

_MOST_DIGITS = 38


def refuse_unknown(columns: pa.Schema, output: str) -> None:
    """Raise :class:`ColumnError`, naming ``output``, if polars has no type for a column."""
    for field in columns:
        if (unknown := _unknown(field.type)) is not None:
            raise ColumnError(
                f"{output}: polars has no type for {unknown}, which column `{field.name}` holds",
                "read the output with predictions_dataset, which has one",
            )


def _unknown(kind: pa.DataType) -> pa.DataType | None:
    """Return the first type within ``kind`` that polars does not have."""
    if isinstance(kind, pa.BaseExtensionType):
        return _unknown(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _unknown(kind.value_type)
    too_long = pa.types.is_decimal(kind) and kind.precision > _MOST_DIGITS
    if too_long or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind) or _is_elsewhere(kind):
        return kind
    parts = (_unknown(kind.field(index).type) for index in range(kind.num_fields))
    return next((part for part in parts if part is not None), None)


def _is_elsewhere(kind: pa.DataType) -> bool:
    """Whether a type has a time zone that polars lacks."""
    if not pa.types.is_timestamp(kind):
        return False
    try:
        pl.Datetime("us", kind.tz)
    except pl.exceptions.ComputeError:
        return True
    return False
