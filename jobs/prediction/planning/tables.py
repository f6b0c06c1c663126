"""Checks, before any work, that tables can take the files that a run is going to write.

The rule: what a table has no type for is refused by column and type, and not after the work.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.partitions import folder_schema, folder_texts
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.writer import prediction_schema
from lvm_batch.io.tables.registration import table_columns
from lvm_batch.jobs.checks import Checks

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lvm_batch.io.dataset.units import Footer
    from lvm_batch.io.schema import WindowShape
    from lvm_batch.io.tables.registration import Table
    from lvm_batch.jobs.checks import CheckError
    from lvm_batch.jobs.settings.run import RunSettings


def table_errors(
    settings: RunSettings, footers: Sequence[Footer], shape: WindowShape, *, id_type: pa.DataType | None
) -> list[CheckError]:
    """Return why tables of ``--register`` cannot take the output; ``id_type`` is that of the neighbours' ids."""
    checks = Checks()
    if settings.register and footers:
        schemas = _schemas(settings, footers, shape, id_type)
        names = [f"{footer.file.stem}-00000.parquet" for footer in footers]
        for table in settings.register:
            check = partial(_refusals, table, settings.output, schemas, names)
            checks.errors.extend(checks.run(check) or [])
    return checks.errors


def _refusals(
    name: str, output: str, schemas: Sequence[tuple[str, pa.Schema]], names: Sequence[str]
) -> list[CheckError]:
    from lvm_batch.io.tables.opening import open_table  # few runs need it

    table, folder = open_table(name, output), OutputFolder(output)
    before = folder.job()
    known = {unit.output for unit in before.units} if before else set()
    columns, errors = table_columns(table, schemas, folder_schema([*known, *names]))
    return [*errors, *table.refusals(columns, names), *_refused_by_entries(table, folder, known)]


def _refused_by_entries(table: Table, folder: OutputFolder, known: Collection[str]) -> Sequence[CheckError]:
    """Return why a table that was rewritten takes no more files; ``known`` are the outputs of the job's units."""
    strangers = folder.published().keys() - known
    checks = Checks()
    checks.run(lambda: table.change([], strangers.__contains__))
    return checks.errors


def _schemas(
    settings: RunSettings, footers: Sequence[Footer], shape: WindowShape, id_type: pa.DataType | None
) -> list[tuple[str, pa.Schema]]:
    """Return the columns of the files to come, with the first input of each schema."""
    dtype = None if settings.no_prediction else settings.output_dtype
    found = {}
    for footer in footers:
        key = id(footer.schema), id(footer.roles), tuple(folder_texts(footer.file.name))
        if key not in found and footer.n_rows:
            carried = _carried(footer)
            found[key] = (
                footer.file.path,
                prediction_schema(carried, dim=shape.dim, dtype=dtype, id_type=id_type),
            )
    return list(found.values())


def _carried(footer: Footer) -> pa.Schema:
    """Return the carried columns that files hold: what folders of the output give is not in them."""
    folders = folder_texts(footer.file.name)
    return pa.schema(
        footer.schema.field(name).with_name(new)
        for name, new in footer.roles.carried.items()
        if name != new or name not in folders
    )
