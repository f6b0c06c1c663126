"""What is registered in a table, and what a commit changes there.

The rule: a table is a list of whole files with their sizes and rows, and of nothing that depends on what is in them.
So the entry of a file is right exactly if its path, its size and its rows are; a commit adds the entries that are
missing or wrong, and removes those of files that are gone. Registering twice changes nothing, whatever came between.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from lvm_batch.errors import LvmBatchError
from lvm_batch.io.errors import ColumnError, TableError
from lvm_batch.io.storage.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from lvm_batch.io.tables.column_types import ColumnType

_COLOURS = re.compile(r"\x1b\[[0-9;]*m↳?")

_SHOWN = 300
"""How many characters of a library's error are shown."""

Value = str | int | date | None
Columns = Mapping[str, "ColumnType"]


@dataclass(frozen=True, slots=True)
class DataFile:
    """A committed file: its name below the output, its bytes, its rows, and the values that its folders give."""

    name: str
    n_bytes: int
    n_rows: int
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns of a table: those of the files with their types, and those of their folders."""

    own: Columns
    folders: Columns

    @property
    def all(self) -> Columns:
        """Every column, first those of the files."""
        return {**self.own, **self.folders}


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit changes: files whose entry is ``added`` or replaced, and names whose entry is ``removed``."""

    added: Sequence[DataFile]
    removed: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


class Registered(NamedTuple):
    """What a table holds of an output after a registration, and what that has changed."""

    table: str
    version: int | None
    files: int
    rows: int
    added: int
    removed: int


def change_of(before: Mapping[str, tuple[int, int]], files: Sequence[DataFile]) -> Change:
    """Return what must change in a table with the entries ``before``: bytes and rows by name."""
    wanted = {file.name for file in files}
    added = [file for file in files if before.get(file.name) != (file.n_bytes, file.n_rows)]
    return Change(added, [name for name in before if name not in wanted])


class Table(ABC):
    """A table that the files of one output are registered in; ``title`` is what messages call it."""

    title: str

    @abstractmethod
    def column_type(self, kind: pa.DataType) -> ColumnType | None:
        """Return the type of a column in the table; ``None`` if the format has none."""

    @abstractmethod
    def refusals(self, columns: TableColumns, names: Sequence[str]) -> list[TableError | ColumnError]:
        """Return why the table cannot take files of these columns and names, as far as can be known before work."""

    @abstractmethod
    def change(self, files: Sequence[DataFile], present: Callable[[str], bool]) -> Change:
        """Return what must change so that exactly ``files`` are registered, each once.

        ``present`` says whether a file is there. Raises :class:`TableError` if somebody else has rewritten the files
        of the output within the table: their rows would be there twice.
        """

    @abstractmethod
    def commit(self, change: Change, columns: TableColumns, *, job_id: str, n_files: int) -> None:
        """Make a change in one commit; ``n_files`` are registered after it."""

    @property
    @abstractmethod
    def version(self) -> int | None:
        """The version or snapshot of the table as it is now; ``None`` if it does not exist."""


def table_columns(
    table: Table, schemas: Sequence[tuple[str, pa.Schema]], folders: pa.Schema
) -> tuple[TableColumns, list[ColumnError]]:
    """Return the columns of a table over files, given as names and schemas, and why it cannot have others.

    ``folders`` are the columns that folders give.
    """
    found: dict[str, tuple[str, ColumnType]] = {}
    errors: dict[str, ColumnError] = {}
    for name, schema in schemas:
        for column in schema:
            kind = table.column_type(column.type)
            if kind is None:
                errors.setdefault(column.name, _no_type(table, name, column))
            elif found.setdefault(column.name, (name, kind))[1] != kind:
                errors.setdefault(column.name, _two_types(name, column, found[column.name][0]))
    own = {name: kind for name, (_, kind) in found.items()}
    of_folders = {each.name: table.column_type(each.type) for each in folders if each.name not in own}
    return TableColumns(own, {name: kind for name, kind in of_folders.items() if kind}), list(errors.values())


def _no_type(table: Table, file: str, column: pa.Field) -> ColumnError:
    if column.name == "prediction":
        return ColumnError(
            f"{table.title} has no type for predictions of float16",
            "write --output-dtype float32, or --no-prediction; or leave out --register",
        )
    return ColumnError(
        f"{file}: column `{column.name}` is {column.type}, for which {table.title} has no type that keeps its values",
        f"write the input with another type of it, or leave it out: --drop {column.name}; or leave out --register",
    )


def _two_types(file: str, column: pa.Field, first: str) -> ColumnError:
    return ColumnError(
        f"{file}: column `{column.name}` is {column.type}, which is another type of the table than in {first}",
        f"write the inputs with one type of it, or leave it out: --drop {column.name}; or leave out --register",
    )


@contextmanager
def library_errors(failure: str, hint: str) -> Iterator[None]:
    """Turn what a table's library raises into :class:`TableError`: ``failure``, its beginning, and ``hint``."""
    try:
        yield
    except (LvmBatchError, ImportError):
        raise
    except Exception as error:
        said = redact(" ".join(_COLOURS.sub("", str(error)).split()))[:_SHOWN]
        raise TableError(f"{failure}: {type(error).__name__}: {said}", hint) from error
