"""Facts about the files of a dataset, from their footers.

The rule: no row is read.
"""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lvm_batch.io.dataset.units import row_bytes
from lvm_batch.io.schema import FILE_ARTICLE, ROW_POSITION
from lvm_batch.io.vectors.types import vector_dtype
from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvm_batch.io.dataset.units import Footer
    from lvm_batch.io.schema import WindowShape
    from lvm_batch.jobs.inspection.view import SeenFile

_MANY_UNITS = 4  # larger row groups get a notice
_OF_FOLDERS = "in folder names"


def schema_values(files: Sequence[SeenFile]) -> list[dict[str, Any]]:
    """Describe every column: its types, the most frequent first, and in how many files it is."""
    types: dict[str, Counter[str]] = {}
    for seen in files:
        for field in _real(seen.schema or ()):
            types.setdefault(field.name, Counter())[str(field.type)] += 1
        for name in seen.file.folders:
            if seen.schema is not None and name not in seen.schema.names:
                types.setdefault(name, Counter())[_OF_FOLDERS] += 1
    return [
        {"name": name, "types": [kind for kind, _ in counts.most_common()], "files": counts.total()}
        for name, counts in types.items()
    ]


def _real(fields: Iterable[pa.Field]) -> Iterator[pa.Field]:
    """Leave out what stands in for a column."""
    return (field for field in fields if field.name not in {FILE_ARTICLE, ROW_POSITION})


def vector_values(footers: Sequence[Footer], shape: WindowShape) -> list[dict[str, Any]]:
    """Describe each way in which vectors are stored, the most frequent first."""
    known = [footer for footer in footers if footer.roles.vectors]
    stored = Counter((footer.roles.layout, footer.roles.vectors, _type(footer)) for footer in known)
    return [
        {
            "layout": layout,
            "column": column,
            "encoding": _encoding(arrow_type),
            "values": _values_name(arrow_type, shape.width if layout == "windows" else shape.dim),
            "type": str(arrow_type),
            "files": n_files,
        }
        for (layout, column, arrow_type), n_files in stored.most_common()
    ]


def _type(footer: Footer) -> pa.DataType:
    return footer.schema.field(footer.roles.vectors).type


def _encoding(arrow_type: pa.DataType) -> str:
    """Return the name of an encoding, as in the documentation of the input."""
    if isinstance(arrow_type, pa.BaseExtensionType):
        return str(arrow_type.extension_name).removeprefix("arrow.")
    names = {
        "fixed_size_binary": pa.types.is_fixed_size_binary,
        "binary": _is_variable_binary,
        "fixed_size_list": pa.types.is_fixed_size_list,
        "large_list": pa.types.is_large_list,
        "list_view": lambda kind: pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind),
    }
    outer = next((name for name, is_it in names.items() if is_it(arrow_type)), "list")
    nested = not outer.endswith("binary") and not pa.types.is_floating(arrow_type.value_type)
    return f"{outer} of lists" if nested else outer


def _is_variable_binary(arrow_type: pa.DataType) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_kind(arrow_type) for is_kind in kinds)


def _values_name(arrow_type: pa.DataType, width: int) -> str:
    return vector_dtype(arrow_type, width=width).name


def row_group_values(footers: Sequence[Footer], shape: WindowShape) -> dict[str, int]:
    """Describe the sizes of row groups."""
    rows = [n_rows for footer in footers for n_rows in footer.row_group_rows]
    decoded = [n_rows * row_bytes(footer, shape) for footer in footers for n_rows in footer.row_group_rows]
    return {
        "count": len(rows),
        "median_rows": int(median(rows)) if rows else 0,
        "median_decoded_bytes": int(median(decoded)) if rows else 0,
        "largest_decoded_bytes": max(decoded, default=0),
    }


def optional_columns(footers: Sequence[Footer]) -> dict[str, str | None]:
    """Return the name of each optional column in the dataset, ``None`` if no file has it."""
    parts = ("target", "lane", "tokens", "split", "article", "position")
    return {part: _first_name(footers, part) for part in parts}


def _first_name(footers: Sequence[Footer], part: str) -> str | None:
    return next((name for footer in footers if (name := getattr(footer.roles, part))), None)


def carried_columns(footers: Sequence[Footer]) -> dict[str, str]:
    """Return every column that goes to the output, with its type in the first file that has it."""
    known: dict[str, str] = {}
    for footer in footers:
        for field in _real(footer.schema.field(name) for name in footer.roles.carried):
            known.setdefault(field.name, str(field.type))
    return known


def difference_notices(files: Sequence[SeenFile]) -> Iterator[str]:
    """Yield how many files have other columns than the first, and how the first of these differs."""
    known = [(seen.file, seen.schema) for seen in files if seen.schema is not None]
    if not known:
        return
    (first, schema), *rest = known
    others = [(file, other) for file, other in rest if not other.equals(schema)]
    if others:
        other, its_schema = others[0]
        have = "has" if len(others) == 1 else "have"
        yield (
            f"{len(others):,} of {plural(len(known), 'file')} {have} other columns than {first.name}: "
            f"{_difference(schema, its_schema)} in {other.name}"
        )


def _difference(schema: pa.Schema, other: pa.Schema) -> str:
    differences = [f"no `{name}`" for name in schema.names if name not in other.names]
    differences += [f"also `{name}`" for name in other.names if name not in schema.names]
    differences += [
        f"`{name}` is {other.field(name).type}, not {schema.field(name).type}"
        for name in schema.names
        if schema.names.count(name) == other.names.count(name) == 1
        and other.field(name).type != schema.field(name).type
    ]
    return ", ".join(differences[:3]) or "another order"


def speed_notices(values: dict[str, Any]) -> Iterator[str]:
    """Yield what makes work slow: row groups of many units' size."""
    largest, unit_bytes = values["row_groups"]["largest_decoded_bytes"], values["units"]["unit_bytes"]
    if largest > _MANY_UNITS * unit_bytes:
        yield (
            f"a row group decodes to {largest / 2**20:,.0f} MiB, and a unit is never less than one: "
            "`lvm-batch pack` writes smaller row groups"
        )
