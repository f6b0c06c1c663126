"""The columns that a bank keeps beside its vectors: their ids, and where they stand in their articles.

The rule: a column has one type in the whole bank, which holds the values of every file unchanged. A column that an
option names is in every file; one that was found is null in files that lack it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.column_checks import is_ordered, is_plain, listed
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.formats.common_types import common_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.files import InputFile

ID, ARTICLE, POSITION = "id", "article_id", "position"
"""What the columns are called in a bank."""

NOUNS = {ID: "ids", ARTICLE: "articles", POSITION: "positions"}
FLAGS = {ID: "--id-column", ARTICLE: "--article-column", POSITION: "--position-column"}
_ACCEPTS: Mapping[str, tuple[Callable[[pa.DataType], bool], str]] = {
    ARTICLE: (is_plain, "tell articles apart"),
    POSITION: (is_ordered, "order the rows of an article"),
}

Types = Mapping[str, pa.DataType]


@dataclass(frozen=True, slots=True)
class KeptColumns:
    """The columns to keep: ``names`` maps what a bank calls them to what the files do.

    Those of ``required`` are named by an option, the others were found.
    """

    names: Mapping[str, str]
    required: frozenset[str] = frozenset()

    def of(self, schema: pa.Schema) -> dict[str, str]:
        """Return the columns that a file has, in the order in which a bank has them."""
        return {part: name for part, name in self.names.items() if name in schema.names}

    def join_types(self, known: Types, schema: pa.Schema, file: InputFile) -> dict[str, pa.DataType]:
        """Return the types that hold this file's columns and those of the files before, ``known``.

        Raises :class:`ColumnError`.
        """
        self._check(schema, file)
        here = {part: schema.field(name).type for part, name in self.of(schema).items()}
        joined = {part: self._joined(part, known.get(part), kind, file) for part, kind in here.items()}
        types = {**known, **joined}
        return {part: types[part] for part in self.names if part in types}

    def _check(self, schema: pa.Schema, file: InputFile) -> None:
        for part in self.required:
            if self.names[part] not in schema.names:
                raise ColumnError(
                    f"{file.path} has no `{self.names[part]}` column; it has {listed(schema)}",
                    f"name it: {FLAGS[part]} NAME",
                )
        for part, (accepts, what) in _ACCEPTS.items():
            name = self.names.get(part)
            if name in schema.names and not accepts(kind := schema.field(name).type):
                raise ColumnError(
                    f"{file.path}: column `{name}` is {kind}, which does not {what}",
                    f"name another column, or none: {FLAGS[part]} @none",
                )

    def _joined(
        self, part: str, known: pa.DataType | None, kind: pa.DataType, file: InputFile
    ) -> pa.DataType:
        together = kind if known is None else common_type(known, kind)
        if together is None:
            none = "" if part == ID else f", or keep none: {FLAGS[part]} @none"
            raise ColumnError(
                f"{file.path}: column `{self.names[part]}` is {kind}, and the {NOUNS[part]} of the files before it are "
                f"{known}: no type holds both as they are",
                f"write them again with one type{none}",
            )
        return together


def take_kept(
    table: pa.Table, columns: Mapping[str, str], rows: NDArray[np.int64], types: Types
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield the columns of a bank with the values of ``rows``, null where the file has no such column.

    Arrow cannot take single rows of list views, so runs of rows are sliced.
    """
    runs = [run for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(run)]
    for part, kind in types.items():
        if part not in columns:
            yield part, pa.chunked_array([pa.nulls(len(rows), kind)])
            continue
        name = columns[part]
        slices = [table[name].slice(run[0], len(run)) for run in runs]
        column = pa.chunked_array([chunk for each in slices for chunk in each.chunks], table[name].type)
        yield part, column if column.type == kind else column.cast(kind)
