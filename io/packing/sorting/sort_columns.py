"""The columns by which the rows of sources are sorted: that of the article and that of the position in it.

The rule: they are found as a run finds them, among the columns of all sources, and every source has both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.column_checks import is_absent, is_plain, listed
from lvm_batch.io.discovery.columns_there import has_repeats, is_ascending
from lvm_batch.io.discovery.find_columns import find_among
from lvm_batch.io.discovery.widths import RowWidth
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.packing.sorting.added_columns import with_file_as_article, with_row_as_position
from lvm_batch.io.schema import FILE_ARTICLE, ROW_POSITION, ColumnNames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvm_batch.io.packing.sources import Source

_ROWS_OF_IDS = 4096
_USUAL = ColumnNames()
_HINTS = {
    "article": f"--article-column NAME names the column of articles; with {FILE_ARTICLE}, each file is one article",
    "position": f"--position-column NAME names the column that orders the rows of an article; with {ROW_POSITION}, "
    "they are already in reading order",
}


class SourceColumns:
    """The columns of all sources, as those among which parts are looked for."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._vectors = {name: source.shape.dim for source in sources for name in source.vectors}
        self._sources: dict[str, Source] = {}
        self.types: dict[str, pa.DataType] = {
            name: pa.list_(pa.float32(), dim) for name, dim in self._vectors.items()
        }
        for source in sources:
            for field in source.others:
                if not is_absent(field.type):
                    self.types.setdefault(field.name, field.type)
                    self._sources.setdefault(field.name, source)

    def vector_columns(self) -> tuple[str, ...]:
        """Return the sources' columns of vectors."""
        return tuple(self._vectors)

    def width(self, name: str) -> RowWidth | None:
        """Return what a row of a column of vectors holds."""
        return RowWidth(self._vectors[name]) if name in self._vectors else None

    def repeats(self, name: str) -> bool:
        """Whether values of a column repeat within the first rows."""
        column = self._first_rows(name)
        return column is not None and is_plain(column.type) and has_repeats(column)

    def ascends(self, name: str) -> bool:
        """Whether the values of a column never fall within the first rows."""
        column = self._first_rows(name)
        return column is not None and is_ascending(column)

    def _first_rows(self, name: str) -> pa.ChunkedArray | None:
        source = self._sources.get(name)
        table = next(iter(source.columns([name], _ROWS_OF_IDS)), None) if source else None
        return None if table is None else table[name]


def with_pseudo_columns(sources: Sequence[Source], given: Mapping[str, str]) -> list[Source]:
    """Add the columns that stand for a file's name and for the places of its rows, where these are ``given``."""
    found = list(sources)
    if given.get("article") == FILE_ARTICLE:
        found = [with_file_as_article(source, _USUAL.article) for source in found]
    if given.get("position") == ROW_POSITION:
        found = [with_row_as_position(source, _USUAL.position) for source in found]
    return found


def find_sort_columns(sources: Sequence[Source], given: Mapping[str, str]) -> tuple[str, str]:
    """Return the columns of the article and the position; raises :class:`ColumnError` if there is no such column."""
    vectors = {name: source for source in sources for name in list(source.vectors)[:1]}
    if len(vectors) > 1:
        (one, first), (other, second), *_ = vectors.items()
        raise ColumnError(
            f"the vectors are `{one}` in {first.path} and `{other}` in {second.path}",
            "sort the files of each on their own, or write them with one name",
        )
    named = {part: name for part, name in given.items() if not name.startswith("@")} | {
        "vector": next(iter(vectors))
    }
    there = SourceColumns(sources)
    found = find_among(there, named, parts=("article", "position"), layout="sequences")
    columns = {"article": found.names.article, "position": found.names.position}
    _refuse_missing(sources, columns)
    for part, name in columns.items():
        if not is_plain(there.types[name]):
            raise ColumnError(
                f"column `{name}` is {there.types[name]}, which has no order", f"name another: {_HINTS[part]}"
            )
    return columns["article"], columns["position"]


def _refuse_missing(sources: Sequence[Source], columns: Mapping[str, str]) -> None:
    """Refuse sources without one of the columns, all that is missing at once."""
    lacking = {
        part: [source for source in sources if not _has(source, name)] for part, name in columns.items()
    }
    missing = [part for part, found in lacking.items() if found]
    if not missing:
        return
    first = lacking[missing[0]][0]
    shown = " and ".join(
        f"no column of the {part}" if len(lacking[part]) == len(sources) else f"no `{columns[part]}`"
        for part in missing
    )
    where = f" (in {len(lacking[missing[0]]):,} of {len(sources):,} files)" if len(sources) > 1 else ""
    raise ColumnError(
        f"{first.path} has {shown} to sort its rows by{where}; it has {listed(first.others)}",
        "; ".join(_HINTS[part] for part in missing),
    )


def _has(source: Source, name: str) -> bool:
    return name in source.others.names and not is_absent(source.others.field(name).type)
