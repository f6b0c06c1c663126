"""The columns that a job adds, and names that may not be carried beside them.

The rule: a name is taken whatever the case of its letters, as many readers ignore it. This module does not know what
the columns mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.errors import ColumnError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OUTPUT_COLUMNS = (
    "prediction",
    "cosine",
    "route",
    "escalation_reasons",
    "confidence",
    "margin",
    "amn_cosine",
    "gru_cosine",
    "shadow",
    "status",
    "status_detail",
)


def refuse_carried(carried: Mapping[str, str], file: str) -> None:
    """Raise :class:`ColumnError` where a column's name in the output, the value in ``carried``, is taken."""
    for old, new in carried.items():
        if taken := _taken(new):
            raise ColumnError(
                f"{file}: column `{old}` would be carried as `{new}`, {taken}",
                f"give it another name in the output: --rename {old}=source_{old}",
            )


def refuse_folders(names: Iterable[str], file: str) -> None:
    """Raise :class:`ColumnError` where a folder's column, which keeps its name in the output, has one that is taken."""
    for name in names:
        if taken := _taken(name):
            raise ColumnError(
                f"{file} lies in a folder that gives a column `{name}`, {taken}",
                "give the folder another name",
            )


def _taken(name: str) -> str | None:
    if name in OUTPUT_COLUMNS:
        return "which is a column of the output"
    if name.lower() in OUTPUT_COLUMNS:
        return f"which readers that ignore case, such as DuckDB, take for the output's `{name.lower()}`"
    return None
