"""Checks of single columns, for every reader of a file.

The rule: a column is judged by its name and type alone, and an error names the file, the column and what to do. A name
of the output is taken in any case of letters, since many readers ignore case.
"""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.errors import ColumnError
from lvm_batch.io.schema import FILE_ARTICLE, NO_COLUMN, OUTPUT_COLUMNS, ROW_POSITION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lvm_batch.io.schema import ColumnNames

_SHOWN = 12


def refuse_repeated(schema: pa.Schema, file: str) -> None:
    """Raise :class:`ColumnError` if two columns have the same name."""
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise ColumnError(
            f"{file} has the column `{twice[0]}` more than once",
            "write the file again with each name once",
        )


def refuse_carried(carried: Mapping[str, str], file: str) -> None:
    """Raise :class:`ColumnError` if a carried column's name in the output, the value in ``carried``, is taken."""
    taken = {old: (new, why) for old, new in carried.items() if (why := _taken(new))}
    if taken:
        columns = "; ".join(
            f"column `{old}` would be carried as `{new}`, {why}" for old, (new, why) in taken.items()
        )
        flags = " ".join(f"--rename {shlex.quote(f'{old}=source_{old}')}" for old in taken)
        drops = " ".join(f"--drop {shlex.quote(old)}" for old in taken)
        raise ColumnError(
            f"{file}: {columns}", f"give it another name in the output: {flags}; or leave it out: {drops}"
        )


def refuse_folders(names: Iterable[str], file: str) -> None:
    """Raise :class:`ColumnError` if a folder's column, which keeps its name in the output, has a taken name."""
    for name in names:
        if taken := _taken(name):
            raise ColumnError(
                f"{file} is in a folder that adds a column `{name}`, {taken}",
                "give the folder another name",
            )


def _taken(name: str) -> str | None:
    if name in OUTPUT_COLUMNS:
        return "which is a column of the output"
    if name.lower() in OUTPUT_COLUMNS:
        return f"which readers that ignore case, such as DuckDB, confuse with the output's `{name.lower()}`"
    return None


def listed(schema: pa.Schema) -> str:
    """List the first columns of a schema, for an error about a missing one."""
    fields = [schema.field(place) for place in range(min(len(schema), _SHOWN))]
    shown = ", ".join(f"`{field.name}`{' of type null' * is_absent(field.type)}" for field in fields)
    more = len(schema.names) - _SHOWN
    return (shown or "no columns at all") + (f" and {more} more" if more > 0 else "")


def check_type(
    schema: pa.Schema, file: str, name: str | None, accepts: Callable[[pa.DataType], bool], names: ColumnNames
) -> None:
    """Raise :class:`ColumnError` if the column ``name`` has a type that ``accepts`` rejects; ``None`` is no column."""
    if name is not None and not accepts(schema.field(name).type):
        flag = _flag(names, name)
        without = f", or ignore it: {flag} {NO_COLUMN}" if accepts in {is_text, is_number} else ""
        raise ColumnError(
            f"{file}: column `{name}` is {schema.field(name).type}, but must hold {_EXPECTED[accepts]}",
            f"convert it, or name another column: {flag} NAME{without}",
        )


def _flag(names: ColumnNames, column: str) -> str:
    """Return the option that names ``column``."""
    return column_flag(next(part.name for part in fields(names) if getattr(names, part.name) == column))


def column_flag(part: str) -> str:
    """Return the option that names the column of ``part``."""
    return f"--{part.replace('_', '-')}-column"


def rename_hint(
    schema: pa.Schema,
    wanted: Mapping[str, Callable[[pa.DataType], bool]],
    names: ColumnNames,
    *,
    joined: str = " ",
) -> str:
    """Return the options that name the missing columns, with the columns that may be meant, and ways to do without.

    ``wanted`` maps the missing columns to what says whether a type can play their part.
    """
    near = {name: found for name, accepts in wanted.items() if (found := _nearest_of(schema, name, accepts))}
    if near:
        meant = " and ".join(f"`{name}`" for name in near.values())
        flags = " ".join(f"{_flag(names, name)} {found}" for name, found in near.items())
        hints = [f"did you mean {meant}? Then add {flags}"]
    else:
        flags = joined.join(f"{_flag(names, name)} NAME" for name in wanted)
        hints = [f"name the right column: {flags}; `lvm-batch inspect` lists the columns"]
    if names.article in wanted:
        hints.append(f"if each file is one article: --article-column {FILE_ARTICLE}")
    if names.position in wanted:
        hints.append(f"if rows are in reading order as they are: --position-column {ROW_POSITION}")
    return "; ".join(hints)


def _nearest_of(schema: pa.Schema, name: str, accepts: Callable[[pa.DataType], bool]) -> str | None:
    there = [field for field in schema if not is_absent(field.type)]
    able = [field.name for field in there if accepts(field.type)]
    return nearest(name, able, cutoff=0.5) or nearest(name, (field.name for field in there), cutoff=0.8)


def nearest(name: str, there: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the one of the names ``there`` that is most like ``name``, if any is."""
    return next(iter(difflib.get_close_matches(name, there, n=1, cutoff=cutoff)), None)


def is_absent(arrow_type: pa.DataType) -> bool:
    """Whether a column counts as missing: of type null, which writers give to a column without values."""
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    return bool(pa.types.is_null(arrow_type))


def is_text(arrow_type: pa.DataType) -> bool:
    """Whether a column holds strings, plain or dictionary."""
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(arrow_type) for is_kind in kinds)


def is_number(arrow_type: pa.DataType) -> bool:
    """Whether a column holds numbers; databases export whole ones as decimals."""
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(is_kind(arrow_type) for is_kind in kinds)


def is_ordered(arrow_type: pa.DataType) -> bool:
    """Whether values have an order that can be a reading order: numbers, times and dates."""
    kinds = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_time, pa.types.is_duration)
    return is_number(arrow_type) or any(is_kind(arrow_type) for is_kind in kinds)


def is_plain(arrow_type: pa.DataType) -> bool:
    """Whether values identify articles: not nested, nor float16, which is inexact for whole numbers above 2,048."""
    storage = arrow_type.storage_type if isinstance(arrow_type, pa.BaseExtensionType) else arrow_type
    storage = storage.value_type if pa.types.is_dictionary(storage) else storage
    return not (pa.types.is_nested(storage) or pa.types.is_float16(storage))


_EXPECTED: dict[Callable[[pa.DataType], bool], str] = {
    is_text: "strings",
    is_number: "integers",
    is_ordered: "numbers or times",
    is_plain: "strings or integers",
}
