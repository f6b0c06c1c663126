"""Finds the columns that a bank takes: its vectors, and where they stand in their articles.

The rule: only the vectors are required. Of the others those are taken that a dataset of the same columns would be read
with, and where nothing decides between two, none is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.column_checks import is_ordered, is_plain
from lvm_batch.io.discovery.columns_there import ColumnsThere
from lvm_batch.io.discovery.find_columns import find_among
from lvm_batch.io.errors import AmbiguousColumns
from lvm_batch.io.schema import NO_COLUMN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile

_ACCEPTS = {"article": is_plain, "position": is_ordered}


def find_bank_columns(files: Sequence[InputFile], given: Mapping[str, str], *, ids: str) -> dict[str, str]:
    """Return the column of the vectors, and those of the articles and positions that are sure, each by its part.

    ``given`` maps parts to the user's columns, ``@none`` to none; the column ``ids`` plays no other part. Raises
    :class:`AmbiguousColumns` if two columns can hold the vectors.
    """
    with ColumnsThere.of(files) as there:
        found = {"vector": find_among(there, given, parts=(), layout="sequences").names.vector}
        for part, accepts in _ACCEPTS.items():
            with suppress(AmbiguousColumns):
                name = getattr(find_among(there, given, parts=(part,), layout="sequences").names, part)
                is_sure = name != ids and name in there.types and accepts(there.types[name])
                if is_sure or given.get(part, NO_COLUMN) != NO_COLUMN:
                    found[part] = name
    return found
