"""Parquet files, opened and read in order, with errors that name the file and the row group.

The rule: rows come in tables of a fixed number of rows, counted from the first row that is read, whatever pages, row
groups or dictionaries the file has, and the memory used does not grow with the file or its row groups.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.errors import DataError, InputNotFound, UnreadableFile
from lvm_batch.io.formats.dictionaries import check_dictionaries, share_dictionaries
from lvm_batch.io.formats.int96 import UNIT, check_int96, int96_columns
from lvm_batch.io.storage.locations import locate, open_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from lvm_batch.io.storage.object_file import ObjectFile, RangesAhead

# Columns are read through a buffer, a page at a time: without one Arrow reads whole column chunks, and mapped files
# stay in memory as far as they have been read. A row group of 370 MB then takes 100 MB in place of 470 at the same
# speed; smaller buffers are slower, larger ones no faster (measured 2026-11-23, pyarrow 26, two cores).
_BUFFER_BYTES = 2**20
# Each buffer is a request: a wait of a tenth of a second should fetch more than a page.
_REMOTE_BUFFER_BYTES = 8 * 2**20
ROWS_AT_ONCE = 512  # decoding 2048 windows at a time takes 260 MB, 512 take 90 MB, at the same speed


class OpenParquet(pq.ParquetFile):  # type: ignore[misc] # pyarrow has no types
    """An open Parquet file, which knows its path and whose errors name it.

    It can be read in several ways at a time: they share the open file and its footer.
    """

    def __init__(
        self,
        source: pa.NativeFile,
        path: str,
        *,
        remote: ObjectFile | None = None,
        **options: Any,  # noqa: ANN401 - of pyarrow
    ) -> None:
        """``remote`` is the object of a store that ``source`` reads."""
        # Checksums are verified where a file has some: 0.25 ns a byte (2026-11-29).
        super().__init__(source, pre_buffer=False, page_checksum_verification=True, **options)
        self.path = path
        self._shared = source, options
        self._remote = remote

    @property
    def row_group_rows(self) -> tuple[int, ...]:
        """The rows of each row group; raises :class:`UnreadableFile` where the footer counts less than none."""
        metadata = self.metadata
        rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
        if min(rows, default=0) < 0:
            with self.naming_errors("its footer"):
                raise pa.ArrowInvalid(f"row group {rows.index(min(rows))} has {min(rows)} rows")
        return rows

    def leaf(self, name: str) -> int:
        """Return the place of a column that is not nested among the leaves of the file."""
        metadata = self.metadata
        return next(
            index for index in range(metadata.num_columns) if metadata.schema.column(index).path == name
        )

    def chunk(self, row_group: int, leaf: int) -> pq.ColumnChunkMetaData:
        """Return what the footer says of a column chunk, which may be damaged.

        Raises :class:`UnreadableFile` if it contradicts the schema: reading the chunk's statistics would then end the
        process. Arrow's reader checks part of that, and for batches of no rows it reads nothing of the file.
        """
        with self.naming_errors(f"row group {row_group}"):
            next(self.reader.iter_batches(0, [row_group], column_indices=[leaf], use_threads=False), None)
            chunk = self.metadata.row_group(row_group).column(leaf)
            kind = self.metadata.schema.column(leaf).physical_type
            if chunk.physical_type != kind:
                raise pa.ArrowInvalid(f"a column of {kind} has a chunk of {chunk.physical_type}")
        return chunk

    def naming_errors(self, part: str) -> AbstractContextManager[None]:
        """Turn errors of Arrow and of the file system into ours, as :func:`naming_errors` does."""
        return naming_errors(self.path, part)

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Return raw bytes of the file, fewer at its end."""
        return bytes(self._shared[0].read_at(n_bytes, offset))

    def read_into(self, offset: int, out: NDArray[Any]) -> int:
        """Fill a C-contiguous array with raw bytes of the file; return how many there are, fewer at its end."""
        source = self._shared[0]
        source.seek(offset)
        return int(source.readinto(out))

    def ahead(self, ranges: Iterable[tuple[int, int]]) -> OpenParquet | RangesAhead:
        """Return what :meth:`read_at` of is to be used for ``ranges`` in order: in a store, they are fetched ahead."""
        return self if self._remote is None else self._remote.ahead(ranges)

    def coded(self, columns: Sequence[str]) -> OpenParquet:
        """Return the file, read so that those of ``columns`` that are texts come as dictionaries."""
        leaves = {".".join(path) for path in self.reader.column_paths}
        return self._reopened(read_dictionary=[name for name in columns if name in leaves])

    def tables(
        self, *, row_groups: Iterable[int], columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.Table]:
        """Yield the rows of ``row_groups`` in tables of exactly ``batch_rows`` rows, the last with what is left.

        The tables of a row group share the values of a dictionary column in memory.
        """
        waiting: list[pa.RecordBatch] = []
        n_waiting = 0
        for batch in self._batches(row_groups, columns, batch_rows):
            waiting.append(batch)
            n_waiting += batch.num_rows
            del batch  # what has been yielded is not held while more is read
            while n_waiting >= batch_rows:
                table = pa.Table.from_batches(waiting)
                waiting = table.slice(batch_rows).to_batches()
                n_waiting -= batch_rows
                table = table.slice(0, batch_rows)
                yield table
                del table
        if n_waiting:
            yield pa.Table.from_batches(waiting)

    def _batches(
        self, row_groups: Iterable[int], columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        int96 = int96_columns(self, columns)
        for row_group in row_groups:
            if int96:
                with self.naming_errors(f"row group {row_group}"):
                    check_int96(self._reopened(coerce_int96_timestamp_unit=UNIT), row_group, int96)
            yield from self._row_group(row_group, columns, batch_rows)

    def _row_group(self, row_group: int, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        known: dict[int, pa.Array] = {}
        # One thread: the cores belong to the workers, each of which reads on its own.
        batches = self.iter_batches(
            batch_size=min(batch_rows, ROWS_AT_ONCE),
            row_groups=[row_group],
            columns=list(columns),
            use_threads=False,
        )
        while True:
            with self.naming_errors(f"row group {row_group}"):
                batch = next(batches, None)
                check_dictionaries(batch)
            if batch is None:
                break
            yield share_dictionaries(batch.select(list(columns)), known)

    @property
    def n_bytes(self) -> int:
        """The size of the file."""
        return int(self._shared[0].size())

    def apart(self) -> OpenParquet:
        """Return the same open file with another reader: what one is asked for can end what it is asked for besides."""
        return self._reopened()

    def _reopened(self, **options: Any) -> OpenParquet:  # noqa: ANN401 - of pyarrow
        """Return the same open file with the same footer, read in another way."""
        source, before = self._shared
        return OpenParquet(
            source, self.path, remote=self._remote, **before | {"metadata": self.metadata} | options
        )


@contextmanager
def open_parquet(path: str) -> Iterator[OpenParquet]:
    """Open the Parquet file at ``path``; raises :class:`UnreadableFile` if it is none, or is damaged."""
    place = locate(path)
    with naming_errors(path, "its footer"):
        # Given a path, Arrow would look for the file system anew, which takes a fifth of the time.
        remote = None if place.is_local else open_object(place)
        opened = place.filesystem.open_input_file(place.path) if remote is None else None
        source = opened or pa.PythonFile(remote, mode="r")
        buffer_size = _BUFFER_BYTES if place.is_local else _REMOTE_BUFFER_BYTES
        file = OpenParquet(
            source, path, remote=remote, buffer_size=buffer_size, coerce_int96_timestamp_unit="ns"
        )
        schema = file.schema_arrow  # an unreadable schema shows here, not later
    del schema
    with source:
        yield file


@contextmanager
def naming_errors(path: str, part: str) -> Iterator[None]:
    """Turn errors of Arrow and of the file system into one that names the file and the part.

    It is :class:`UnreadableFile`, which allows a run to skip the file, only if the file itself is damaged: not if
    memory is short, or a store does not answer.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UnreadableFile(f"{path} no longer exists", "restore it, then run again", path) from error
    except MemoryError as error:
        raise DataError(
            f"there is not enough memory to read {path}, {part}: {_first_line(error)}",
            "use fewer workers, or give them more memory; if the file is damaged, write it again",
        ) from error
    except PermissionError as error:
        raise InputNotFound(
            f"{path} cannot be accessed, {part}: {_first_line(error)}",
            "check that you may read it, then run again",
        ) from error
    except ConnectionError as error:
        raise InputNotFound(
            f"{path} cannot be reached, {part}: {_first_line(error)}",
            "check that the store answers, then run again",
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: names that are no UTF-8
        is_whole = isinstance(error, pa.ArrowNotImplementedError)  # as with polars' Int128
        mend = "write the file with types that Arrow reads" if is_whole else "write the file again"
        raise UnreadableFile(
            f"{path} cannot be read as Parquet, {part}: {_first_line(error)}",
            f"{mend}; or leave it out with --on-bad-file skip",
            path,
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
