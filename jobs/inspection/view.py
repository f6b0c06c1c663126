"""A look at a dataset: its files, columns and order, and the settings under which a run would read it.

The rule: a file that a run would refuse is looked at as far as it can be read, and its error is kept. Where the user
has to choose, the first choice is taken, and the settings then hold it.
"""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from lvm_batch.io.dataset.article_runs import ArticleRuns, RowOrder
from lvm_batch.io.dataset.units import Footer, read_footers
from lvm_batch.io.discovery.columns_there import ColumnsThere
from lvm_batch.io.errors import AmbiguousColumns, DataError
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.schema import FILE_ARTICLE, ROW_POSITION, ColumnNames
from lvm_batch.jobs.datasets.dataset_format import FoundFormat, find_format
from lvm_batch.jobs.errors import Problem
from lvm_batch.jobs.inspection.inputs import Inputs, find_inputs
from lvm_batch.jobs.inspection.near_vectors import nested_articles

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.dataset.units import DatasetFormat
    from lvm_batch.io.discovery.found_columns import FoundColumns
    from lvm_batch.jobs.settings.run import RunSettings

_MOST_CHOICES = 16
_READERS = 8
_VECTOR_FLAGS = ("--vector-column", "--context-column")
_USUAL = ColumnNames()


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file: its columns, the rows of each row group, and why a run would refuse it, if it would.

    A damaged file has no columns and no rows.
    """

    file: InputFile
    schema: pa.Schema | None
    row_group_rows: tuple[int, ...] = ()
    footer: Footer | None = None
    error: DataError | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return sum(self.row_group_rows)


@dataclass(frozen=True, slots=True)
class View:
    """What was seen of a dataset.

    ``settings`` are the user's with the columns that were chosen for them, ``given`` the parts whose columns the user
    named; ``unclear`` says which choices there were, and ``others`` are the settings of other columns of vectors.
    ``restarts`` says that positions begin anew within files that no column cuts into articles.
    """

    inputs: Inputs
    settings: RunSettings
    given: frozenset[str]
    format: FoundFormat
    files: tuple[SeenFile, ...]
    order: RowOrder
    unclear: tuple[Problem, ...]
    others: tuple[RunSettings, ...] = ()
    restarts: bool = False

    @property
    def footers(self) -> list[Footer]:
        """The footers of the files that a run would read."""
        return [seen.footer for seen in self.files if seen.footer]

    @property
    def n_rows(self) -> int:
        """Rows of all files that can be read."""
        return sum(seen.n_rows for seen in self.files)

    @property
    def columns(self) -> FoundColumns:
        """The columns that were found."""
        return self.format.columns

    @property
    def named(self) -> RunSettings:
        """The settings as if the user had named every column that was found."""
        return self.settings.with_columns(self.columns.names)

    @property
    def hidden_articles(self) -> tuple[str, ...]:
        """Fields of structs that may tell articles apart, where no column does and the user has said nothing."""
        if "article" in self.given or self.settings.given_columns.get("article") != FILE_ARTICLE:
            return ()
        return nested_articles(seen.schema for seen in self.files if seen.schema is not None)

    @property
    def has_vectors(self) -> bool:
        """Whether a column can hold vectors."""
        return any(self.columns.candidates.get(part) for part in ("context", "vector"))


def look(settings: RunSettings) -> View:
    """Look at a dataset; raises ``DataError`` if there is no file to look at."""
    inputs, given = find_inputs(settings.dataset), frozenset(settings.given_columns)
    chosen = _choose_columns(settings, inputs.files)
    settings, found = chosen.settings, chosen.format
    data_format = replace(
        found.data_format, writes_rows=False
    )  # names that collide are told with the commands
    runs = ArticleRuns()
    footers = list(read_footers(inputs.files, data_format, runs=runs))
    with ThreadPoolExecutor(_READERS) as pool:
        files = tuple(pool.map(lambda read: _seen(read[0], read[1], data_format), footers))
    good = [seen.file.path for seen in files if seen.footer]
    order = runs.order(good, length=data_format.shape.length)
    return View(
        inputs,
        settings,
        given,
        replace(found, data_format=data_format),
        files,
        order,
        tuple(chosen.unclear),
        tuple(chosen.others),
        restarts=order.disorder is not None and _restarts(settings, found.columns, inputs.files),
    )


def other_view(view: View, settings: RunSettings) -> View:
    """Return the view with another column of vectors; the files and their order are the same."""
    found = find_format(settings, view.inputs.files)
    return replace(view, settings=settings, format=found)


def _restarts(settings: RunSettings, columns: FoundColumns, files: Sequence[InputFile]) -> bool:
    """Whether positions repeat in files that stand in for articles: these are several texts each."""
    if settings.given_columns.get("article") != FILE_ARTICLE:
        return False
    with ColumnsThere.of(files) as there:
        return there.repeats(columns.names.position)


class _Chosen(NamedTuple):
    """Settings with the columns that were chosen, what was unclear, and the settings of other columns of vectors."""

    settings: RunSettings
    format: FoundFormat
    unclear: list[Problem]
    others: list[RunSettings]


def _choose_columns(settings: RunSettings, files: Sequence[InputFile]) -> _Chosen:
    """Find the columns; where several can play a part, take the first, and where none tells articles, whole files."""
    unclear: list[Problem] = []
    flags: tuple[str, ...] = ()
    for _ in range(_MOST_CHOICES):
        try:
            found = find_format(settings, files)
            break
        except AmbiguousColumns as error:
            unclear.append(Problem(*error.args[:2]))
            settings = _with_flag(settings, error.flags[0])
            flags = flags or tuple(flag for flag in error.flags if flag.startswith(_VECTOR_FLAGS))
    contexts, vectors = (found.columns.candidates.get(part) for part in ("context", "vector"))
    if found.columns.layout is None and contexts and vectors:
        unclear.append(
            Problem(
                f"`{contexts[0]}` holds contexts, and `{vectors[0]}` single vectors",
                "choose what to read: --layout windows, or --layout sequences",
            )
        )
        settings = settings.model_copy(update={"layout": "windows"})
        found = find_format(settings, files)
    if missing := _missing_parts(settings, found.columns):
        settings = settings.model_copy(update=missing)
        found = find_format(settings, files)
    return _Chosen(settings, found, unclear, [_with_flag(settings, flag) for flag in flags[1:]])


def _with_flag(settings: RunSettings, flag: str) -> RunSettings:
    """Return settings with an option such as ``--vector-column emb``."""
    option, value = shlex.split(flag)
    return settings.model_copy(update={option.removeprefix("--").replace("-", "_"): value})


def _missing_parts(settings: RunSettings, columns: FoundColumns) -> dict[str, str]:
    """Return what stands in for the columns that sequences need and do not have."""
    if columns.layout != "sequences":
        return {}
    stand_ins = {"article": FILE_ARTICLE, "position": ROW_POSITION}
    return {f"{part}_column": name for part, name in stand_ins.items() if not plays(part, settings, columns)}


def plays(part: str, settings: RunSettings, columns: FoundColumns) -> str | None:
    """Return the column that plays a part, ``None`` if none does."""
    if part in settings.given_columns or part in columns.taken:
        name: str = getattr(columns.names, part)
        return name
    usual: str = getattr(_USUAL, part)
    return usual if usual in columns.candidates.get(part, ()) else None


def _seen(file: InputFile, footer: Footer | DataError, data_format: DatasetFormat) -> SeenFile:
    if isinstance(footer, Footer):
        return SeenFile(file, footer.schema, footer.row_group_rows, footer)
    try:
        with open_parquet(file.path) as parquet:
            schema = data_format.columns(parquet.schema_arrow, file).schema
            return SeenFile(file, schema, parquet.row_group_rows, error=footer)
    except DataError as damage:
        return SeenFile(file, None, error=damage)
