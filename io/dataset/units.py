"""Work units: runs of row groups of one file, cut by bytes from footers alone.

The rule: the same files and the same unit size always give the same units with the same names.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.column_checks import refuse_folders
from lvm_batch.io.dataset.columns import assign_roles
from lvm_batch.io.dataset.file_columns import FileColumns, disagreement, file_columns
from lvm_batch.io.dataset.partitions import folder_texts
from lvm_batch.io.errors import DataError
from lvm_batch.io.formats.null_vectors import NullVectors, find_null_vectors
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.formats.parquet_sizes import ChunkSizes, chunk_sizes
from lvm_batch.io.schema import EVERY_COLUMN, ColumnChoice, ColumnNames, Layout, Roles, WindowShape
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pyarrow as pa

    from lvm_batch.io.dataset.article_runs import ArticleRuns
    from lvm_batch.io.dataset.files import InputFile

_FLOAT32_BYTES = 4
_FOOTER_READERS = 8
"""Footers read at a time over a network. From a local disk it is one: threads would wait for one another's turn in the
interpreter and take twice the time (0.24 and 0.12 ms a footer, 2026-11-23)."""


@dataclass(frozen=True, slots=True)
class DatasetFormat:
    """How the files of a dataset are read; picklable, the same for every file.

    Only if ``writes_rows`` is false may carried columns have names of the output's columns.
    """

    names: ColumnNames = field(default_factory=ColumnNames)
    shape: WindowShape = field(default_factory=WindowShape)
    layout: Layout | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    choice: ColumnChoice = EVERY_COLUMN
    writes_rows: bool = True

    @property
    def carried_split(self) -> str:
        """The name of the split column in the output, in files that have one."""
        return self.rename.get(self.names.split, self.names.split)

    def columns(self, own: pa.Schema, file: InputFile) -> FileColumns:
        """Return the columns of one file, whose own schema is ``own``; its folders may give others."""
        return file_columns(own, file, texts=self._texts, numbers=self._numbers)

    def texts_of_folders(self, file: InputFile) -> dict[str, str | None]:
        """Return the columns with a part that the folders of ``file`` give, as texts."""
        parts = {*self._texts, *self._numbers}
        return {name: text for name, text in file.folders.items() if name in parts}

    @property
    def _texts(self) -> tuple[str, ...]:
        return self.names.lane, self.names.split, self.names.article

    @property
    def _numbers(self) -> tuple[str, ...]:
        return self.names.context_tokens, self.names.tokens, self.names.position

    def roles(self, schema: pa.Schema, path: str, *, has_rows: bool = True) -> Roles:
        """Assign the columns of one file their parts; raises ``ColumnError``."""
        return assign_roles(
            schema,
            path,
            names=self.names,
            shape=self.shape,
            layout=self.layout,
            rename=self.rename,
            choice=self.choice,
            writes_rows=self.writes_rows,
            has_rows=has_rows,
        )


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer of a file: its columns' parts, the rows of each row group, and the sizes of its rows.

    Files of one schema share ``schema`` and ``roles``: there may be hundreds of thousands of them.
    ``disagreement`` says which column differs from the value of the file's folder, ``null_vectors`` how many rows have
    no vector, if the footer tells of any.
    """

    file: InputFile
    schema: pa.Schema
    roles: Roles
    row_group_rows: tuple[int, ...]
    sizes: ChunkSizes = field(default_factory=ChunkSizes)
    disagreement: str | None = None
    null_vectors: NullVectors | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return sum(self.row_group_rows)


@dataclass(frozen=True, slots=True)
class Unit:
    """Row groups from ``first_row_group`` to before ``last_row_group``: ``n_rows`` rows from ``first_row``.

    ``output`` is the path of its predictions below the output folder, and identifies the unit everywhere. If it
    ``is_cut``, its row groups hold more than its ``n_rows``.
    """

    file: InputFile
    output: str
    first_row_group: int
    last_row_group: int
    first_row: int
    n_rows: int
    is_cut: bool = False


def read_footers(
    files: Iterable[InputFile],
    dataset_format: DatasetFormat,
    *,
    runs: ArticleRuns | None = None,
) -> Iterator[tuple[InputFile, Footer | DataError]]:
    """Read every file's footer, in order; a file that cannot be used comes with its error.

    ``runs`` collects the runs of articles of every file of sequences.
    """
    known: _Known = {}

    def read(file: InputFile) -> Footer | DataError:
        try:
            return _read_footer(file, dataset_format, known, runs)
        except DataError as error:
            return error

    files = list(files)
    if all(locate(path).is_local for path in {file.path.rpartition("/")[0] for file in files}):
        yield from ((file, read(file)) for file in files)
        return
    with ThreadPoolExecutor(_FOOTER_READERS) as pool:
        yield from zip(files, pool.map(read, files), strict=True)


_Known = dict[tuple[object, ...], tuple["pa.Schema", Roles]]


def _read_footer(
    file: InputFile,
    dataset_format: DatasetFormat,
    known: _Known,
    runs: ArticleRuns | None,
) -> Footer:
    """Read one footer; ``known`` holds the schemas so far."""
    if dataset_format.writes_rows:
        refuse_folders(folder_texts(file.name), file.path)
    with open_parquet(file.path) as parquet:
        rows = parquet.row_group_rows
        columns = dataset_format.columns(parquet.schema_arrow, file)
        has_rows = sum(rows) > 0
        key = has_rows, *columns.key
        if key not in known:
            roles = dataset_format.roles(columns.schema, file.path, has_rows=has_rows)
            known[key] = columns.schema, roles
        schema, roles = known[key]
        sizes = chunk_sizes(parquet, schema=schema, roles=roles)
        if runs is not None:
            runs.add(parquet, columns, roles)
        differs = disagreement(parquet, columns) if columns.overruled else None
        nulls = (
            find_null_vectors(parquet, schema=schema, roles=roles, shape=dataset_format.shape)
            if has_rows
            else None
        )
    return Footer(file, schema, roles, rows, sizes, differs, nulls)


def row_bytes(footer: Footer, shape: WindowShape) -> int:
    """Return the decoded bytes of one row: a float32 context, or one float32 vector in the sequences layout."""
    length = shape.length if footer.roles.layout == "windows" else 1
    return length * shape.dim * _FLOAT32_BYTES


def cut_units(footer: Footer, *, unit_bytes: int, shape: WindowShape) -> list[Unit]:
    """Cut one file into units of at most ``unit_bytes`` decoded bytes, but at least one row group each.

    A file without rows is one empty unit, so that it has an output like every other file.
    """
    max_rows = max(1, unit_bytes // row_bytes(footer, shape))
    units: list[Unit] = []
    first_row = 0
    for first, last in _runs(footer.row_group_rows, max_rows):
        n_rows = sum(footer.row_group_rows[first:last])
        output = f"{footer.file.stem}-{len(units):05d}.parquet"
        units.append(Unit(footer.file, output, first, last, first_row, n_rows))
        first_row += n_rows
    return units


def whole_unit(footer: Footer) -> Unit:
    """Return a file as one unit, however large it is."""
    output = f"{footer.file.stem}-00000.parquet"
    return Unit(footer.file, output, 0, len(footer.row_group_rows), 0, footer.n_rows)


def _runs(row_group_rows: tuple[int, ...], max_rows: int) -> Iterator[tuple[int, int]]:
    first = n_rows = 0
    for index, rows in enumerate(row_group_rows):
        if n_rows and rows and n_rows + rows > max_rows:  # a row group without rows is no unit of its own
            yield first, index
            first, n_rows = index, 0
        n_rows += rows
    yield first, len(row_group_rows)
