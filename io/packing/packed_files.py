"""The files of a pack, in an output folder that is this pack's own.

The rule: all files of a pack appear together, once every row of every source is written, or none does. What a killed
pack has left is removed by the next one.

Vectors are stored plain, without dictionary, statistics or compression; a row group holds 64 MiB of float32 vectors,
the default size of a run's work unit, so that units can be cut as small as that.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from pyarrow import fs

from lvm_batch.io.errors import OutputError, OutputLocked, output_errors
from lvm_batch.io.formats.parquet_writing import leaf_options, row_groups
from lvm_batch.io.storage.listing import look_at
from lvm_batch.io.storage.locations import locate
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lvm_batch.io.packing.encoding import Packing
    from lvm_batch.io.packing.row_stream import RowStream
    from lvm_batch.io.packing.sources import Source
    from lvm_batch.io.storage.locations import Location
    from lvm_batch.io.storage.store import Store

_STAGING = "_packing"
_ROW_GROUP_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file that was written: its name below the output, its columns, and the source of its rows if it is one."""

    name: str
    n_rows: int
    n_bytes: int
    columns: tuple[str, ...]
    source: Source | None = None


class PackedFiles:
    """The files written so far, which no reader sees yet; temporary files of the pack belong in ``folder``."""

    def __init__(self, output: str, store: Store, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._output = output
        self._store = store
        self._stack = stack
        self._staged: list[tuple[Path, PackedFile]] = []

    @property
    def written(self) -> list[PackedFile]:
        """The files in the order in which they were written."""
        return [file for _, file in self._staged]

    def write(
        self,
        name: str,
        rows: RowStream,
        sizes: Iterable[int],
        *,
        source: Source | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> None:
        """Write the next rows as the file ``name``, in row groups of ``sizes`` rows."""
        staged = self._stack.enter_context(self._store.stage())
        with self.naming_errors():
            n_rows = _write_file(staged, rows, sizes, on_rows)
        n_bytes = staged.stat().st_size
        self._staged.append((staged, PackedFile(name, n_rows, n_bytes, tuple(rows.schema.names), source)))

    def publish(self) -> None:
        """Publish every file; if one fails, remove those that were published."""
        with ExitStack() as undo:
            for staged, file in self._staged:
                undo.callback(self._store.remove, file.name)
                self._store.publish(staged, file.name)
            undo.pop_all()

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Turn failures to write into an error that names the output."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._output} cannot be written: {error}",
                "make room, or choose another --output; nothing is left there",
            ) from error


@contextmanager
def packed_files(output: str) -> Iterator[PackedFiles]:
    """Open an empty output and claim it; at the end only published files are left.

    Raises :class:`OutputError` if it is not empty, cannot be written, or another pack is writing to it.
    """
    with _claimed(output) as (store, folder), ExitStack() as stack:
        yield PackedFiles(output, store, folder, stack)


def sizes_of(packing: Packing, row_bytes: int) -> tuple[int, int]:
    """Return the rows of a row group and of a file."""
    group_rows = max(1, _ROW_GROUP_BYTES // row_bytes)
    return group_rows, packing.file_rows or group_rows * max(
        1, packing.file_bytes // (group_rows * row_bytes)
    )


@contextmanager
def _claimed(output: str) -> Iterator[tuple[Store, Path]]:
    place = locate(output)
    _refuse_file(place)
    store = open_store(output, staging=_STAGING)
    if not place.is_local:
        _refuse_full(place)
        with tempfile.TemporaryDirectory(prefix="lvm-batch-pack-") as temporary:
            yield store, Path(temporary)
        return
    root = Path(place.path)
    is_new = not root.exists()
    with output_errors(f"{output} cannot be written", "choose another --output"):
        root.mkdir(parents=True, exist_ok=True)
    with _locked(root, output):
        _refuse_full(place)
        folder = root / _STAGING
        with output_errors(f"{output} cannot be written", "choose another --output"):
            shutil.rmtree(folder, ignore_errors=True)  # a killed pack has left it
            folder.mkdir()
        try:
            yield store, folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if is_new and not any(root.iterdir()):
                root.rmdir()


@contextmanager
def _locked(root: Path, output: str) -> Iterator[None]:
    """Hold the folder itself: the lock falls with the process, and no file is left of it."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        _take(descriptor, root, output)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, root: Path, output: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputLocked(
            f"another pack is writing to {output}", "wait for it to end, or choose another --output"
        ) from error
    except OSError as error:  # a file system without locks: nobody knows whether a pack is still running
        if (root / _STAGING).exists():
            raise OutputError(
                f"another pack is writing to {output}, or was killed there",
                f"if none is running, remove {root}/{_STAGING}",
            ) from error


def _refuse_file(place: Location) -> None:
    if look_at(place).type == fs.FileType.File:
        raise OutputError(f"{place.text} is a file", "give --output a folder")


def _refuse_full(place: Location) -> None:
    selector = fs.FileSelector(place.path, allow_not_found=True)
    inside = {info.base_name for info in place.filesystem.get_file_info(selector)} - {_STAGING}
    if inside:
        raise OutputError(
            f"{place.text} is not empty: it holds {min(inside)}", "choose a folder that is new or empty"
        )


def _write_file(
    path: Path, rows: RowStream, sizes: Iterable[int], on_rows: Callable[[int], None] | None
) -> int:
    """Write row groups of ``sizes`` rows to ``path``, sync the file to disk, and return the rows."""
    n_rows = 0
    options = leaf_options(rows.schema, vectors=rows.vectors)
    with path.open("wb") as sink:
        with pq.ParquetWriter(sink, rows.schema, **options) as writer:
            for size in sizes:
                if size:  # a file without rows has no row groups
                    for table in row_groups(rows.take(size)):
                        writer.write_table(table, row_group_size=size)
                        del table  # or it would stay in memory while the next one is read
                n_rows += size
                if on_rows:
                    on_rows(size)
        sink.flush()
        os.fsync(sink.fileno())
    return n_rows
