"""Columns whose names can mean two things, told apart by their first values.

The rule: a `document` that never repeats is the text itself, and an `id` that falls is not the place of a row. A column
of a part's usual name is not doubted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.discovery import part_names
from lvm_batch.io.schema import ColumnNames

if TYPE_CHECKING:
    from lvm_batch.io.discovery.columns_there import KnownColumns

_USUAL = ColumnNames()


def is_sound(name: str, part: str, there: KnownColumns) -> bool:
    """Whether the first values of a column can be what its name says; true for names that can mean one thing only."""
    if name == getattr(_USUAL, part):
        return True
    if part == "article" and part_names.may_be_text(name):
        return there.repeats(name)
    return part != "position" or not part_names.may_be_any_id(name) or there.ascends(name)
