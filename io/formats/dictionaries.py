"""Dictionary columns of batches, as Arrow reads them from Parquet.

The rule: an index that points beyond its dictionary is an error before it is used, and batches of a row group hold one
copy of a dictionary.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def check_dictionaries(batch: pa.RecordBatch | None) -> None:
    """Raise ``ArrowIndexError`` if a damaged page points beyond its dictionary: Arrow checks this too late."""
    for column in batch.columns if batch is not None else ():
        if pa.types.is_dictionary(column.type):
            least, most = pc.min_max(column.indices).values()
            if most.is_valid and not 0 <= least.as_py() <= most.as_py() < len(column.dictionary):
                raise pa.ArrowIndexError(f"it points at value {most} of {len(column.dictionary)}")


def share_dictionaries(batch: pa.RecordBatch, known: dict[int, pa.Array]) -> pa.RecordBatch:
    """Replace dictionaries by equal ones of earlier batches: Arrow makes a copy for each batch."""
    for place, column in enumerate(batch.columns):
        if pa.types.is_dictionary(column.type):
            if place in known and known[place].equals(column.dictionary):
                column = pa.DictionaryArray.from_arrays(  # noqa: PLW2901
                    column.indices, known[place], ordered=column.type.ordered, safe=False
                )
                batch = batch.set_column(place, batch.schema.field(place), column)
            known[place] = column.dictionary
    return batch
