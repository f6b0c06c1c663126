"""What the columns of a dataset are, as they were found.

The rule: whoever reads the dataset, or says how, reads it from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.io.schema import ColumnNames, Layout, WindowShape


@dataclass(frozen=True, slots=True)
class FoundColumns:
    """What the columns of a dataset are.

    ``names`` has the column of each part, or its usual name where none was found. ``layout`` is ``None`` if there is no
    column of vectors, or if there is one for each layout. ``shape`` is measured: the vectors of a context, and the
    components of a vector, each the usual number where the data does not say. ``has_fixed_length`` says whether the
    type of the contexts tells their length, so that it holds for every row. ``taken`` maps parts to columns that were
    neither given nor have the usual name. ``candidates`` maps each part to all columns that could play it, the surest
    first.
    """

    names: ColumnNames
    layout: Layout | None
    shape: WindowShape
    taken: Mapping[str, str]
    candidates: Mapping[str, tuple[str, ...]]
    has_fixed_length: bool = False
