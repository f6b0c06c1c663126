"""The errors of this room: what can be wrong with files, columns and outputs.

    DataError                 anything below; catch it to refuse a dataset or an output
    ├── InputNotFound         the user's path leads to nothing to read
    ├── UnreadableFile        a file is there, but is not the Parquet (or NPZ, or bank) it should be
    ├── MissingExtra          an optional package that this needs is not installed
    ├── ColumnError           columns are missing, of the wrong type or width, or collide
    │   └── AmbiguousColumns  several columns can play one part
    ├── NoVectors             the columns are right, but no row has a vector that can be used
    ├── TableError            a Delta Lake or Iceberg table cannot be read, or cannot take the files
    └── OutputError           the output folder cannot take this job
        ├── JobChanged        it holds another job
        ├── OutputLocked      another run is writing to it
        └── NotFinished       it has no ``_SUCCESS`` (yet), and the reader requires it

Every error carries two texts, ``args == (message, hint)``: what is wrong and where, and what to do about it.
``kind`` is a stable code for programs.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lvm_batch.errors import LvmBatchError

if TYPE_CHECKING:
    from collections.abc import Iterator


class DataError(LvmBatchError):
    """Base of every error of this room; ``args`` are the message and the hint."""

    kind = "data"


class InputNotFound(DataError):
    """A path, folder or pattern leads to no file that can be read."""

    kind = "not_found"


class UnreadableFile(DataError):
    """A file turns out damaged, or gone, while it is read; ``path`` is the file."""

    kind = "unreadable_file"

    def __init__(self, message: str, hint: str = "", path: str = "") -> None:
        super().__init__(message, hint)
        self.path = path

    def __reduce__(self) -> tuple[type[UnreadableFile], tuple[str, str, str]]:
        return type(self), (*self.args, self.path)


class MissingExtra(DataError):
    """A package of an extra is not installed; the hint is the pip command that installs it."""

    kind = "missing_extra"


class ColumnError(DataError):
    """The columns of a file do not fit the job."""

    kind = "columns"


class AmbiguousColumns(ColumnError):
    """Several columns can play one part; ``flags`` are the options that choose, one for each column."""

    kind = "ambiguous_columns"

    def __init__(self, message: str, hint: str = "", flags: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.flags = flags

    def __reduce__(self) -> tuple[type[AmbiguousColumns], tuple[str, str, tuple[str, ...]]]:
        return type(self), (*self.args, self.flags)


class NoVectors(DataError):
    """No row of the input has a vector that can be used."""

    kind = "no_vectors"
    exit_code = 1


class TableError(DataError):
    """A table of Delta Lake or Iceberg cannot be read, or cannot take the files of an output."""

    kind = "table"


class OutputError(DataError):
    """The output folder cannot take this job."""

    kind = "output"


class JobChanged(OutputError):
    """The output folder holds a job with another fingerprint."""

    kind = "job_changed"


class OutputLocked(OutputError):
    """Another process holds the lock of the output folder."""

    kind = "locked"
    exit_code = 75  # the same command may work later


class NotFinished(OutputError):
    """The output has no ``_SUCCESS``: a run is writing it or was interrupted, or a gate failed."""

    kind = "not_finished"


@contextmanager
def output_errors(failure: str, hint: str) -> Iterator[None]:
    """Turn an ``OSError`` into :class:`OutputError`: ``failure``, what the system says, and ``hint``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{failure}: {error.strerror or error}", hint) from error
