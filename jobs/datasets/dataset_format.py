"""How to read a dataset, as a command's settings say.

The rule: every command reads a dataset as a run with the same settings does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.units import DatasetFormat, Footer
from lvm_batch.io.discovery.find_columns import find_columns
from lvm_batch.io.discovery.messages import found_notice
from lvm_batch.io.schema import NO_COLUMN, ColumnChoice, ColumnNames, Layout, WindowShape
from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.discovery.found_columns import FoundColumns
    from lvm_batch.jobs.settings.dataset import DatasetSettings


@dataclass(frozen=True, slots=True)
class FoundFormat:
    """How to read a dataset whose columns have been found, and what was found."""

    data_format: DatasetFormat
    columns: FoundColumns

    @property
    def notices(self) -> tuple[str, ...]:
        """Which columns were taken by the names people use."""
        notice = found_notice(self.columns.taken)
        return (notice,) if notice else ()


def find_format(
    settings: DatasetSettings,
    files: Sequence[InputFile],
    *,
    shape: WindowShape | None = None,
    length: int | None = None,
) -> FoundFormat:
    """Find the columns of ``files``, and measure their contexts unless ``shape``, the models', is given.

    ``length`` is the number of vectors that a context is to have, whatever the data suggests. Raises
    ``AmbiguousColumns``.
    """
    layout = _layout(settings)
    columns = find_columns(files, settings.given_columns, shape=shape, layout=layout, length=length)
    if layout is None and columns.taken.keys() & {"context", "vector"}:
        layout = columns.layout
    shape = shape or replace(columns.shape, length=length or columns.shape.length)
    return FoundFormat(_format(settings, columns.names, shape, layout), columns)


def dataset_format(settings: DatasetSettings, shape: WindowShape) -> DatasetFormat:
    """Return how to read files whose contexts have ``shape``, and whose columns have the names of the settings."""
    names = ColumnNames(
        **{part.name: getattr(settings, f"{part.name}_column") for part in fields(ColumnNames)}
    )
    return _format(settings, names, shape, _layout(settings))


def _layout(settings: DatasetSettings) -> Layout | None:
    return None if settings.layout == "auto" else settings.layout


def _format(
    settings: DatasetSettings, names: ColumnNames, shape: WindowShape, layout: Layout | None
) -> DatasetFormat:
    """Settings without ``rename`` are of a command that writes no rows; it accepts columns named like one of the
    output, and has none to choose.
    """
    pairs = getattr(settings, "rename", None)
    rename = dict(pair.split("=", 1) for pair in pairs or ())
    choice = ColumnChoice(getattr(settings, "columns", ()), getattr(settings, "drop", ()))
    return DatasetFormat(names, shape, layout, rename, choice, writes_rows=pairs is not None)


def missing_columns(footers: Sequence[Footer], names: ColumnNames) -> dict[str, str]:
    """Return the escalation criteria that cannot be evaluated because a column is missing, each with the reason."""
    footers = [footer for footer in footers if footer.n_rows] or footers
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
        return f"its column is {NO_COLUMN}" if name == NO_COLUMN else f"there is no `{name}` column"
    if n_missing:
        return f"there is no `{name}` column in {n_missing} of {plural(len(columns), 'file')} (the others have it)"
    return None
