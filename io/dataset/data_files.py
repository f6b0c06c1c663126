"""The files that a folder holds or a pattern matches, and which of them are data.

The rule: a file is data by its suffix, or, without one, by its first bytes, so that a README, a checksum or a store's
folder marker does not stop a job; a file that is data by name is read, or refused by name.
"""

from __future__ import annotations

import posixpath
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from pyarrow import fs

from lvm_batch.io.dataset.partitions import folder_texts
from lvm_batch.io.errors import DataError, TableError
from lvm_batch.io.storage.bucket_objects import FOLDER_MARKER
from lvm_batch.io.storage.listing import is_hidden, listing, look_at
from lvm_batch.io.storage.locations import locate, relative_name
from lvm_batch.io.storage.patterns import cut_pattern, matches_path
from lvm_batch.io.tables.names import LOG, is_iceberg_metadata
from lvm_batch.io.tables.reading import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lvm_batch.io.storage.locations import Location
    from lvm_batch.io.tables.names import TableName
    from lvm_batch.io.tables.versions import TableFile, TableVersion

_READERS = 32
_INNER = re.compile(r"\.(parquet|parq|pq)\.\w+$", re.IGNORECASE)
# A broken link is listed as not found; reading it then raises an error that names it.
_TO_READ = (fs.FileType.File, fs.FileType.NotFound)
_SMALLEST = (
    12  # bytes of the smallest Parquet file: two magic numbers and the footer's size; arrays are larger
)


@dataclass(frozen=True, slots=True)
class FileKinds:
    """FileKinds of files: their suffixes, in any case of letters, and their first bytes."""

    suffixes: tuple[str, ...]
    beginnings: tuple[bytes, ...]


PARQUET = FileKinds((".parquet", ".parq", ".pq"), (b"PAR1",))
_LINES = (".jsonl", ".ndjson")
PACKABLE = FileKinds(
    (
        *(*PARQUET.suffixes, ".npz", ".npy", *_LINES),
        *(f"{suffix}{packed}" for suffix in _LINES for packed in (".gz", ".zst", ".bz2")),
    ),
    (*PARQUET.beginnings, b"PK\x03\x04", b"\x93NUM"),
)


class ListedFile(NamedTuple):
    """A file as a listing shows it; ``name`` is relative to what was given."""

    place: Location
    name: str
    info: fs.FileInfo


def files_below(folder: Location, root: Location) -> Iterator[ListedFile]:
    """Yield the files at any depth below ``folder``, with names relative to ``root``, without hidden ones."""
    for place, found in listing(folder, recursive=True):
        name = relative_name(place, root)
        _refuse_table(place, name)
        if found.type in _TO_READ and not is_hidden(name):
            yield ListedFile(place, name, found)


def files_matching(pattern: Location) -> Iterator[ListedFile]:
    """Yield the files that a pattern matches, or that are below a folder it matches; names are relative to its root."""
    root, wanted = cut_pattern(pattern)
    if not wanted or look_at(root).type != fs.FileType.Directory:
        return
    deep = len(wanted) > 1 or wanted == ["**"]
    for place, found in listing(root, recursive=deep):
        name = relative_name(place, root)
        _refuse_table(place, name)
        if is_hidden(name) or not matches_path(name, wanted):
            continue
        if found.type in _TO_READ:
            yield ListedFile(place, name, found)
        elif found.type == fs.FileType.Directory and not deep:
            yield from files_below(place, root)


def files_of_table(name: TableName) -> tuple[TableVersion, list[ListedFile]]:
    """Return a table at the version that is read, and its files; raises :class:`TableError` for one that is gone."""
    table = read_table(name)
    places = [locate(file.path) for file in table.files]
    with ThreadPoolExecutor(_READERS) as pool:
        infos = list(pool.map(look_at, places))
    for file, info in zip(table.files, infos, strict=True):
        _check(file, info, table.table)
    return table, [
        ListedFile(place, file.name, info)
        for place, file, info in zip(places, table.files, infos, strict=True)
    ]


def _check(file: TableFile, info: fs.FileInfo, table: str) -> None:
    """Raise :class:`TableError` for a file that is not as the table says, or whose name cannot be that of outputs."""
    if info.type != fs.FileType.File or info.size != file.n_bytes:
        is_there = (
            f"has {info.size} bytes, not {file.n_bytes}" if info.type == fs.FileType.File else "is gone"
        )
        raise TableError(
            f"{table} refers to {file.path}, which {is_there}",
            "name a version whose files are there, or repair the table",
        )
    if is_hidden(file.name):
        raise TableError(
            f"{file.path} begins, or a folder of it, with `_` or `.`, and so would its outputs: readers skip them",
            "write the rows to be read into a table whose files have other names",
        )
    folders = folder_texts(file.name)
    for column, value in file.partition.items():
        if column not in folders or folders[column] != value:
            raise TableError(
                f"`{column}` of {file.path} is {value!r} in {table}, and its folder does not say so",
                "write the rows to be read into a table with a folder for each value, or without partitions",
            )


def _refuse_table(place: Location, name: str) -> None:
    """Raise :class:`DataError` where a listing comes upon a table: its folder may hold files that are not in it."""
    before, log, _ = f"/{name}/".partition(f"/{LOG}/")
    if log:
        table = f"{place.text.removesuffix(name)}{before.lstrip('/')}".rstrip("/")
        raise DataError(
            f"{table} is a Delta table, and a listing of its folder would also give files that are no longer in it",
            f"read the table, by itself: delta:{table}, or delta:{table}@VERSION",
        )
    if is_iceberg_metadata(name):
        raise DataError(
            f"{place.text} is metadata of an Iceberg table, whose folder may also hold files that are not in it",
            "read the table: iceberg:CATALOG.NAMESPACE.TABLE; or its folder data, with whatever files are there",
        )


def separate_data(
    listed: Sequence[ListedFile], kinds: FileKinds, is_named: Callable[[str], bool]
) -> tuple[list[ListedFile], list[ListedFile]]:
    """Return the files that are data, and the others.

    A file that ``is_named`` is data, too, unless it is a marker of a folder.
    """
    markers = _markers(listed)
    data: list[ListedFile] = []
    others: list[ListedFile] = []
    doubtful: list[ListedFile] = []
    for one in listed:
        end = posixpath.splitext(one.name)[1]
        if one.name in markers:
            others.append(one)
        elif one.name.lower().endswith(kinds.suffixes) or (
            (end or one.info.size != 0) and is_named(one.name)
        ):
            data.append(one)
        else:
            # pandas' documentation writes `part.parquet.gzip`, whose bytes tell what it is.
            (others if end and not _INNER.search(one.name) else doubtful).append(one)
    for one, is_data in zip(doubtful, _begin_as(doubtful, kinds), strict=True):
        (data if is_data else others).append(one)
    return data, others


def _markers(listed: Sequence[ListedFile]) -> set[str]:
    """Return the names of markers of folders: by their suffix, or empty with the name of a folder."""
    named = {one.name for one in listed if one.name.endswith(FOLDER_MARKER)}
    empty = {one.name for one in listed if one.info.size == 0}
    return named | (empty and empty & {above for one in listed for above in _above(one.name)})


def _above(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[:n_parts]) for n_parts in range(1, len(parts) + 1)]


def _begin_as(files: Sequence[ListedFile], kinds: FileKinds) -> list[bool]:
    """Return for each file whether it begins as data does."""
    if all(
        one.place.is_local for one in files
    ):  # threads would wait for one another's turn in the interpreter
        return [_begins(one, kinds) for one in files]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda one: _begins(one, kinds), files))


def _begins(one: ListedFile, kinds: FileKinds) -> bool:
    """Whether a file begins as data does, or cannot be opened: reading it then raises an error that names it."""
    if one.info.type == fs.FileType.File and (one.info.size or 0) < _SMALLEST:
        return False
    try:
        with one.place.filesystem.open_input_file(one.place.path) as file:
            start = bytes(file.read(4))
    except (pa.ArrowException, OSError):
        return True
    return start in kinds.beginnings


def nearest_existing(place: Location) -> str:
    """Return a hint for a path that does not exist: the folder above it that does."""
    if not place.is_local:
        return "check the bucket and the key"
    parent = place.path
    while parent and look_at(locate(parent)).type != fs.FileType.Directory:
        parent = parent.rpartition("/")[0]
    return f"check the path: {parent or '/'} is there, but nothing of that name below it"
