"""Describes a dataset: its files, columns and encodings, and what a run would do with them.

The rule: facts about files come from their footers, facts about values from the first rows. A dataset that a run would
refuse is refused here with the same message.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lvm_batch.io.dataset.files import look_for_files
from lvm_batch.io.dataset.units import cut_units, row_bytes
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.vectors.types import vector_dtype
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.datasets.dataset_files import open_dataset
from lvm_batch.jobs.datasets.dataset_format import dataset_format, missing_columns
from lvm_batch.jobs.datasets.dataset_notices import cut_values, overruled_notices
from lvm_batch.jobs.datasets.inspection_text import as_text
from lvm_batch.jobs.datasets.sample import read_sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.units import Footer
    from lvm_batch.jobs.settings.run import RunSettings

# Windows/s that open_unit decodes on one core, as (fixed_size_binary, lists), by the type of the values. Measured on
# 2026-11-23 with pyarrow 26 on a machine of two cores, 8,192 rows in row groups of 4,096, uncompressed.
_MEASURED = {"float32": (280_000, 42_000), "float16": (84_000, 33_000)}
_MANY_UNITS = 4  # larger row groups get a notice


def inspect(settings: RunSettings) -> tuple[dict[str, Any], str]:
    """Return a description of the dataset, as values and as text; raises the errors that a run raises for it."""
    shape = WindowShape()
    data_format = dataset_format(settings, shape)
    dataset = open_dataset(settings, look_for_files(settings.dataset), data_format)
    footers = dataset.footers
    units = [cut_units(footer, unit_bytes=settings.unit_size, shape=shape) for footer in footers]
    sample = read_sample(chain.from_iterable(units), data_format, pad=settings.pad)
    values = {
        "files": len(footers),
        "rows": dataset.n_rows,
        "bytes": sum(footer.file.size for footer in footers),
        "decoded_bytes": sum(footer.n_rows * row_bytes(footer, shape) for footer in footers),
        "layouts": sorted({footer.roles.layout for footer in footers}),
        "vectors": _vectors(footers, shape),
        "row_groups": _row_groups(footers, shape),
        "columns": _optional_columns(footers),
        "criteria_not_evaluated": missing_columns(footers, data_format.names),
        "carried": {field.name: str(field.type) for field in _carried(footers)},
        "cut_articles": cut_values(dataset.order.cuts),
        "units": {"count": sum(map(len, units)), "unit_bytes": int(settings.unit_size)},
        "sample": sample.values(),
    }
    values["notices"] = [*dataset.notices, *overruled_notices(footers), *_notices(values, footers)]
    return values, as_text(values)


def _vectors(footers: Sequence[Footer], shape: WindowShape) -> list[dict[str, Any]]:
    """Describe each way in which vectors are stored, the most frequent first."""
    stored = Counter((footer.roles.layout, footer.roles.vectors, _type(footer)) for footer in footers)
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
        "fixed_size_list": pa.types.is_fixed_size_list,
        "large_list": pa.types.is_large_list,
    }
    outer = next((name for name, is_it in names.items() if is_it(arrow_type)), "list")
    nested = outer != "fixed_size_binary" and not pa.types.is_floating(arrow_type.value_type)
    return f"{outer} of lists" if nested else outer


def _values_name(arrow_type: pa.DataType, width: int) -> str:
    return vector_dtype(arrow_type, width=width).name


def _row_groups(footers: Sequence[Footer], shape: WindowShape) -> dict[str, int]:
    rows = [n_rows for footer in footers for n_rows in footer.row_group_rows]
    decoded = [n_rows * row_bytes(footer, shape) for footer in footers for n_rows in footer.row_group_rows]
    return {
        "count": len(rows),
        "median_rows": int(median(rows)) if rows else 0,
        "median_decoded_bytes": int(median(decoded)) if rows else 0,
        "largest_decoded_bytes": max(decoded, default=0),
    }


def _optional_columns(footers: Sequence[Footer]) -> dict[str, str | None]:
    """Return the name of each optional column in the dataset, ``None`` if no file has it."""
    parts = ("target", "lane", "tokens", "split", "article", "position")
    return {part: _first_name(footers, part) for part in parts}


def _first_name(footers: Sequence[Footer], part: str) -> str | None:
    return next((name for footer in footers if (name := getattr(footer.roles, part))), None)


def _carried(footers: Sequence[Footer]) -> Iterator[pa.Field]:
    known: dict[str, pa.Field] = {}
    for footer in footers:
        for name in footer.roles.carried:
            known.setdefault(name, footer.schema.field(name))
    yield from known.values()


def _notices(values: dict[str, Any], footers: Sequence[Footer]) -> Iterator[str]:
    yield from _differences(footers)
    for stored in values["vectors"]:
        if stored["encoding"] != "fixed_size_binary":
            yield f"`{stored['column']}` is slow to read as {stored['encoding']}: {_pack_hint(stored)}"
    largest, unit_bytes = values["row_groups"]["largest_decoded_bytes"], values["units"]["unit_bytes"]
    if largest > _MANY_UNITS * unit_bytes:
        yield (
            f"a row group decodes to {largest / 2**20:,.0f} MiB, and a unit is never less than one: "
            "`lvm-batch pack` writes smaller ones"
        )


def _pack_hint(stored: dict[str, Any]) -> str:
    hint = "`lvm-batch pack` writes the same rows as fixed_size_binary"
    if stored["layout"] != "windows" or stored["values"] not in _MEASURED:
        return hint
    binary, lists = _MEASURED[stored["values"]]
    return f"{hint}, measured at {binary:,} windows/s a core against {lists:,}"


def _differences(footers: Sequence[Footer]) -> Iterator[str]:
    """Yield how many files have other columns than the first, and how the first of these differs."""
    if not footers:
        return
    first = footers[0]
    others = [footer for footer in footers if not footer.schema.equals(first.schema)]
    if others:
        what = _difference(first.schema, others[0].schema)
        yield (
            f"{len(others)} of {plural(len(footers), 'file')} with other columns than {first.file.name}: {what} "
            f"in {others[0].file.name}"
        )


def _difference(schema: pa.Schema, other: pa.Schema) -> str:
    differences = [f"no `{name}`" for name in schema.names if name not in other.names]
    differences += [f"also `{name}`" for name in other.names if name not in schema.names]
    differences += [
        f"`{name}` is {other.field(name).type}, not {schema.field(name).type}"
        for name in schema.names
        if name in other.names and other.field(name).type != schema.field(name).type
    ]
    return ", ".join(differences[:3]) or "another order"
