"""The common schema of several files.

The rule: every value of every file fits its column unchanged; if no type allows that, an error names the column and
the two files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.errors import ColumnError
from lvm_batch.io.formats.common_types import common_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    Files = Sequence[tuple[str, pa.Schema]]


def common_schema(files: Files) -> pa.Schema:
    """Return the common schema of ``files``, each given as its name and its schema.

    A column that a file lacks is nullable. Raises :class:`ColumnError` if two types have no common one.
    """
    unified: dict[str, pa.Field] = {}
    for file, schema in files:
        for field in schema:
            known = unified.setdefault(field.name, field)
            kind = common_type(known.type, field.type)
            if kind is None:
                raise _apart(file, field, files)
            unified[field.name] = known.with_type(kind).with_nullable(known.nullable or field.nullable)
    everywhere = set.intersection(*(set(schema.names) for _, schema in files))
    return pa.schema(
        [
            field if name in everywhere else field.with_nullable(True)  # noqa: FBT003 - pyarrow's
            for name, field in unified.items()
        ]
    )


def _apart(file: str, field: pa.Field, files: Files) -> ColumnError:
    """Return the error of a column whose type does not go together with that of an earlier file."""
    kinds = [(other, schema.field(field.name).type) for other, schema in files if field.name in schema.names]
    other, kind = next((each for each in kinds if common_type(each[1], field.type) is None), kinds[0])
    return ColumnError(
        f"{file} does not match {other}: column `{field.name}` is {field.type} in the one and {kind} in the "
        "other, and no type can hold the values of both unchanged",
        "write the inputs with one type of that column and run again; or read the files of each type on their own",
    )
