"""The first rows of a dataset: the files that have them, and the units that they are in.

The rule: files and units are those of the whole dataset, in order, so that the first rows come out as they do in a run
over all of them. No file behind them is opened.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lvm_batch.io.errors import DataError
from lvm_batch.io.formats.parquet import open_parquet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.dataset.units import Unit


def first_files(files: Iterable[InputFile], n_rows: int) -> list[InputFile]:
    """Return the files that have the first ``n_rows`` rows; no other is opened.

    One that cannot be read has no rows, and is refused by who reads it.
    """
    chosen: list[InputFile] = []
    for file in files:
        if n_rows <= 0:
            break
        chosen.append(file)
        n_rows -= _rows_of(file)
    return chosen


def _rows_of(file: InputFile) -> int:
    try:
        with open_parquet(file.path) as parquet:
            return sum(parquet.row_group_rows)
    except DataError:
        return 0


def first_units(units: Iterable[Unit], n_rows: int) -> list[Unit]:
    """Return the units of the first ``n_rows`` rows, cut as those of all rows are; the last one may be cut short."""
    chosen: list[Unit] = []
    for unit in units:
        if unit.n_rows > n_rows:
            return [*chosen, replace(unit, n_rows=n_rows, is_cut=True)] if n_rows else chosen
        chosen.append(unit)
        n_rows -= unit.n_rows
    return chosen
