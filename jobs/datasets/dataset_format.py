"""How to read a dataset, as a command's settings say.

The rule: every command reads a dataset as a run with the same settings does.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.units import DatasetFormat, Footer
from lvm_batch.io.schema import ColumnNames, WindowShape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.jobs.settings.dataset import DatasetSettings


def dataset_format(settings: DatasetSettings, shape: WindowShape) -> DatasetFormat:
    """Return how to read files whose contexts have ``shape``.

    Settings without ``rename`` are of a command that writes no rows; it accepts columns named like one of the output.
    """
    names = ColumnNames(
        **{part.name: getattr(settings, f"{part.name}_column") for part in fields(ColumnNames)}
    )
    layout = None if settings.layout == "auto" else settings.layout
    pairs = getattr(settings, "rename", None)
    rename = dict(pair.split("=", 1) for pair in pairs or ())
    return DatasetFormat(names, shape, layout, rename, writes_rows=pairs is not None)


def missing_columns(footers: Sequence[Footer], names: ColumnNames) -> dict[str, str]:
    """Return the escalation criteria that cannot be evaluated because a column is missing, each with the reason."""
    sequences = any(footer.roles.layout == "sequences" for footer in footers)
    tokens = names.tokens if sequences else names.context_tokens
    missing = {
        "high_stakes_lane": _missing_column([footer.roles.lane for footer in footers], names.lane),
        "long_context": _missing_column([footer.roles.tokens for footer in footers], tokens),
    }
    return {reason: why for reason, why in missing.items() if why}


def _missing_column(columns: Sequence[str | None], name: str) -> str | None:
    n_missing = sum(column is None for column in columns)
    if n_missing == len(columns):
        return f"there is no `{name}` column"
    if n_missing:
        return f"{n_missing} of {len(columns)} files have no `{name}` column (in the others it is)"
    return None
