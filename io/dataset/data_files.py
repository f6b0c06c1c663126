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

from lvm_batch.io.storage.bucket_objects import FOLDER_MARKER
from lvm_batch.io.storage.listing import is_hidden, listing, look_at
from lvm_batch.io.storage.locations import relative_name
from lvm_batch.io.storage.patterns import cut_pattern, matches_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lvm_batch.io.storage.locations import Location

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
        if is_hidden(name) or not matches_path(name, wanted):
            continue
        if found.type in _TO_READ:
            yield ListedFile(place, name, found)
        elif found.type == fs.FileType.Directory and not deep:
            yield from files_below(place, root)


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
