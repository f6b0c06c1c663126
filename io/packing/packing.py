"""Packing: rows of vectors written as Parquet files that a run reads fast.

The rule: all files of a pack appear together, once every row of every source is written, or none does.

Vectors are stored plain, without dictionary, statistics or compression; a row group holds 64 MiB of float32 vectors,
the default size of a run's work unit, so that units can be cut as small as that.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from pyarrow import fs

from lvm_batch.io.errors import DataError, OutputError, output_errors
from lvm_batch.io.formats.parquet_writing import leaf_options, row_groups
from lvm_batch.io.packing.encoding import PackedRows, Packing
from lvm_batch.io.storage.listing import look_at
from lvm_batch.io.storage.locations import locate
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lvm_batch.io.packing.sources import Source
    from lvm_batch.io.storage.locations import Location
    from lvm_batch.io.storage.store import Store

_STAGING = "_packing"
_ROW_GROUP_BYTES = 64 * 2**20
_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file that was written: its name below the output, and the source of its rows."""

    name: str
    n_rows: int
    n_bytes: int
    source: Source


def pack(
    sources: Sequence[Source], output: str, *, packing: Packing, on_rows: Callable[[int], None] | None = None
) -> tuple[list[PackedFile], list[str]]:
    """Write ``sources`` into the folder or URL ``output``; return its files, and what the user should know.

    ``on_rows`` is called with the number of rows just written. Raises :class:`OutputError` if the output is not empty
    or cannot be written, and whatever reading the sources raises; then nothing is left there.
    """
    _refuse_same_names(sources)
    files: dict[Path, PackedFile] = {}
    notices: list[str] = []
    with _claimed(output) as store, ExitStack() as stack:
        for source in sources:
            group_rows, file_rows = _sizes(source, packing)
            rows = PackedRows(source, packing, most_rows=group_rows)
            for number, n_rows in enumerate(_cut(source.n_rows, file_rows)):
                staged = stack.enter_context(store.stage())
                with _naming(output):
                    _write_file(staged, rows, _cut(n_rows, group_rows), on_rows)
                name = f"{source.stem}-{number:05d}.parquet"
                files[staged] = PackedFile(name, n_rows, staged.stat().st_size, source)
            notices += [*source.notices, *rows.notices()]
        _publish(store, files)
    return list(files.values()), notices


def _refuse_same_names(sources: Sequence[Source]) -> None:
    by_stem: dict[str, Source] = {}
    for source in sources:
        other = by_stem.setdefault(source.stem, source)
        if other is not source:
            raise DataError(
                f"{other.path} and {source.path} would both write to {source.stem}-00000.parquet",
                "pack them one by one, each into its own output",
            )


@contextmanager
def _claimed(output: str) -> Iterator[Store]:
    """Open an empty output and claim it; at the end only published files are left."""
    place = locate(output)
    _refuse_full(place)
    store = open_store(output, staging=_STAGING)
    if not place.is_local:
        yield store
        return
    root = Path(place.path)
    is_new = not root.exists()
    with output_errors(f"{output} cannot be written", "choose another --output"):
        root.mkdir(parents=True, exist_ok=True)
        (root / _STAGING).mkdir()
    try:
        yield store
    finally:
        shutil.rmtree(root / _STAGING, ignore_errors=True)
        if is_new and not any(root.iterdir()):
            root.rmdir()


def _refuse_full(place: Location) -> None:
    found = look_at(place)
    if found.type == fs.FileType.File:
        raise OutputError(f"{place.text} is a file", "give --output a folder")
    selector = fs.FileSelector(place.path, allow_not_found=True)
    inside = [info.base_name for info in place.filesystem.get_file_info(selector)]
    if inside == [_STAGING]:
        raise OutputError(
            f"another pack is writing to {place.text}, or was killed there",
            f"if none is running, remove {place.text}/{_STAGING}",
        )
    if inside:
        raise OutputError(
            f"{place.text} is not empty: it holds {min(inside)}", "choose a folder that is new or empty"
        )


def _publish(store: Store, files: Mapping[Path, PackedFile]) -> None:
    """Publish every file; if one fails, remove those that were published."""
    with ExitStack() as undo:
        for staged, file in files.items():
            undo.callback(store.remove, file.name)
            store.publish(staged, file.name)
        undo.pop_all()


@contextmanager
def _naming(output: str) -> Iterator[None]:
    """Turn failures to write into an error that names the output."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{output} cannot be written: {error}",
            "make room, or choose another --output; nothing is left there",
        ) from error


def _write_file(
    path: Path, rows: PackedRows, sizes: Iterable[int], on_rows: Callable[[int], None] | None
) -> None:
    """Write row groups of ``sizes`` rows to ``path``, and sync the file to disk."""
    options = leaf_options(rows.schema, vectors=rows.source.vectors)
    with path.open("wb") as sink:
        with pq.ParquetWriter(sink, rows.schema, **options) as writer:
            for size in sizes:
                if size:  # a file without rows has no row groups
                    for table in row_groups(rows.take(size)):
                        writer.write_table(table, row_group_size=size)
                if on_rows:
                    on_rows(size)
        sink.flush()
        os.fsync(sink.fileno())


def _sizes(source: Source, packing: Packing) -> tuple[int, int]:
    """Return the rows of a row group and of a file.

    Single vectors stay in one file: windows slide over them, and none crosses a file.
    """
    row_bytes = max(source.length * packing.shape.dim * _FLOAT32_BYTES, source.other_bytes)
    group_rows = max(1, _ROW_GROUP_BYTES // row_bytes)
    file_rows = packing.file_rows or group_rows * max(1, packing.file_bytes // (group_rows * row_bytes))
    return group_rows, max(1, source.n_rows) if source.length == 1 else file_rows


def _cut(n_rows: int, most: int) -> Iterator[int]:
    """Yield ``n_rows`` in parts of at most ``most``, lazily: a footer may promise any number; no rows are one part."""
    yield min(n_rows, most)
    for first in range(most, n_rows, most):
        yield min(most, n_rows - first)
