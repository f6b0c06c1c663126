"""The files of a dataset: what paths, folders, patterns, URLs and tables stand for.

The rule: the same arguments give the same files in the same order, no file twice, whatever links there are, and every
file has one name, relative to its argument, from which the names of its outputs follow.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyarrow import fs

from lvm_batch.io.dataset.data_files import (
    PARQUET,
    FileKinds,
    ListedFile,
    files_below,
    files_matching,
    files_of_table,
    nearest_existing,
    separate_data,
)
from lvm_batch.io.dataset.partitions import folder_texts, partitions_above
from lvm_batch.io.errors import DataError, InputNotFound, UnreadableFile
from lvm_batch.io.storage.listing import is_hidden, look_at
from lvm_batch.io.storage.locations import Location, locate
from lvm_batch.io.storage.patterns import cut_pattern, is_pattern, matches_by_name
from lvm_batch.io.tables.names import DELTA, LOG, TableName, dataset_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_SUFFIX = re.compile(r"\.(parquet|parq|pq)$", re.IGNORECASE)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read: its path, its name within the dataset, its size in bytes and its time of writing (ns)."""

    path: str
    name: str
    size: int
    modified_ns: int | None

    @property
    def stem(self) -> str:
        """The name without a Parquet suffix: outputs are named ``<stem>-00000.parquet``."""
        return stem_of(self.name)

    @property
    def folders(self) -> Mapping[str, str | None]:
        """The columns that folders give, as texts; those farther up, as in `year=2019/archive/data`, give none."""
        return folder_texts(self.folder_path)

    @property
    def folder_path(self) -> str:
        """The name, behind the folders directly above the dataset that give columns, as in `data/date=2026-11-22`."""
        return f"{partitions_above(self.path.removesuffix(self.name))}{self.name}"


def stem_of(name: str) -> str:
    """Return the name of a file without a Parquet suffix."""
    return _SUFFIX.sub("", name)


@dataclass(frozen=True, slots=True)
class DatasetListing:
    """The files to read, sorted by name, and the names of those that were skipped as no data.

    ``tables`` has the version that is read of each table, by the table's name.
    """

    files: list[InputFile]
    others: tuple[str, ...]
    tables: Mapping[str, int] = field(default_factory=dict)

    @property
    def notices(self) -> list[str]:
        """What the user should know of the skipped files, and of tables."""
        n, names = len(self.others), ", ".join(self.others[:_SHOWN])
        count = f"{n:,} other files are" if n > 1 else "1 other file is"
        read = [f"{table} is read at version {version}" for table, version in self.tables.items()]
        return [*read, *([f"{count} not read: {names}{', …' if n > _SHOWN else ''}"] if n else [])]


def look_for_files(arguments: Iterable[str], kinds: FileKinds = PARQUET) -> DatasetListing:
    """Find the files that ``arguments`` stand for, as :func:`list_files` does.

    Raises :class:`DataError` also if a file occurs twice, or two files would write to the same outputs.
    """
    found = list_files(arguments, kinds)
    refuse_doubles(found.files)
    return found


def list_files(arguments: Iterable[str], kinds: FileKinds = PARQUET) -> DatasetListing:
    """Find the files that ``arguments`` (paths, folders, patterns, URLs, tables) stand for, also those given twice.

    Folders are read to any depth; files and folders whose name begins with ``_`` or ``.`` are skipped, and so are
    files that are none of ``kinds``, unless an argument or the last part of a pattern names them.
    Raises :class:`InputNotFound` if there is nothing to read.
    """
    found = [_expand(argument, kinds) for argument in arguments]
    files = sorted((file for each in found for file in each.files), key=lambda file: file.name)
    tables = {table: version for each in found for table, version in each.tables.items()}
    return DatasetListing(files, tuple(sorted({name for each in found for name in each.others})), tables)


def refuse_doubles(files: list[InputFile]) -> None:
    """Raise :class:`DataError` if a file occurs twice, or two of ``files`` would write to the same outputs."""
    _refuse_repeated(files)
    by_stem: dict[str, list[InputFile]] = defaultdict(list)
    for file in files:
        by_stem[posixpath.normpath(file.stem)].append(file)  # a store's key may hold `//`
    for same in by_stem.values():
        _refuse_collision(same)


def find_files(arguments: Iterable[str]) -> list[InputFile]:
    """Return the files of :func:`look_for_files`."""
    return look_for_files(arguments).files


def check_unchanged(file: InputFile) -> None:
    """Raise :class:`UnreadableFile` if the file is gone or has changed since the job was planned."""
    place = locate(file.path)
    found = look_at(place)
    if found.type != fs.FileType.File:
        raise UnreadableFile(f"{file.path} no longer exists", "restore it, then run again", file.path)
    if (found.size, found.mtime_ns) != (file.size, file.modified_ns):
        raise UnreadableFile(
            f"{file.path} has changed since the job was planned",
            "wait until it is written completely, then run again",
            file.path,
        )


def _refuse_repeated(files: list[InputFile]) -> None:
    """Raise :class:`DataError` for a file that occurs twice, links followed: its rows would be doubled."""
    states = Counter((file.size, file.modified_ns) for file in files)
    alike = [
        file for file in files if states[file.size, file.modified_ns] > 1
    ]  # the same file has the same size and time
    places: dict[str, InputFile] = {}
    for place, file in zip(real_places(file.path for file in alike), alike, strict=True):
        first = places.setdefault(place, file)
        if first.path != file.path:
            raise DataError(
                f"{file.path} and {first.path} are the same file, so its rows would be read twice",
                "remove the link, or list the files to read one by one; a copy counts as another file",
            )
        if first is not file:
            raise DataError(
                f"{file.path} is given twice", "name each file once, by itself or by a folder above it"
            )


def real_places(paths: Iterable[str]) -> Iterator[str]:
    """Yield the path of each file with links followed."""
    folders: dict[str, str | None] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in folders:  # there are fewer folders than files
            folders[folder] = os.path.realpath(folder or "/") if locate(folder or "/").is_local else None
        if (real := folders[folder]) is None:
            yield path
        elif os.path.islink(path):  # noqa: PTH114 - Path takes twice the time
            yield os.path.realpath(path)
        else:
            yield f"{real.rstrip('/')}/{name}"


def _refuse_collision(same: list[InputFile]) -> None:
    if len(same) == 1:
        return
    first, second = same[:2]
    raise DataError(
        f"{first.path} and {second.path} would both write to {first.stem}-00000.parquet",
        "give the folder above both, or a pattern that begins there, so that their names differ",
    )


def _expand(argument: str, kinds: FileKinds) -> DatasetListing:
    if (table := dataset_table(argument)) is not None:
        return _of_table(table)
    place = locate(argument)
    found = look_at(place)
    if found.type == fs.FileType.File:
        return DatasetListing([_single(place, found)], ())
    if found.type == fs.FileType.Directory:
        if look_at(place.child(LOG)).type == fs.FileType.Directory:
            return _of_table(TableName(DELTA, place.text))
        return _sorted_out(files_below(place, place), kinds, f"{argument} has no files to read")
    if found.type == fs.FileType.Unknown:
        raise _no_file(place)
    if is_pattern(argument):
        wanted = cut_pattern(place)[1]
        return _sorted_out(files_matching(place), kinds, f"no file matches {argument}", wanted)
    raise InputNotFound(f"{argument} does not exist", nearest_existing(place))


def _of_table(name: TableName) -> DatasetListing:
    found, listed = files_of_table(name)
    return DatasetListing([_input_file(*one) for one in listed], (), {found.table: found.version})


def _sorted_out(
    listed: Iterable[ListedFile], kinds: FileKinds, message: str, wanted: Sequence[str] = ()
) -> DatasetListing:
    """Separate data from other files; raises :class:`InputNotFound` with ``message`` if there is no data."""
    data, others = separate_data(
        list(listed), kinds, lambda name: bool(wanted) and matches_by_name(name, wanted)
    )
    found = DatasetListing([_input_file(*one) for one in data], tuple(sorted(one.name for one in others)))
    if not data:
        raise InputNotFound(
            "; ".join([message, *found.notices]),
            "check the path; names that begin with `_` or `.`, all that is below them, and files that neither end with"
            f" {' or '.join(kinds.suffixes)} nor begin as such files do are read only if you name them",
        )
    return found


def _single(place: Location, found: fs.FileInfo) -> InputFile:
    if is_hidden(found.base_name):
        raise DataError(
            f"{place.text} begins with `_` or `.`, and so would its outputs: readers skip such names",
            "rename the file",
        )
    return _input_file(place, found.base_name, found)


def _no_file(place: Location) -> DataError:
    return DataError(
        f"{place.text} is a pipe, a socket or a device, not a file",
        "copy its content to a file, and read that",
    )


def _input_file(place: Location, name: str, found: fs.FileInfo) -> InputFile:
    return InputFile(place.text, name, int(found.size or 0), found.mtime_ns)
