"""What is at a place and below it.

The rule: a listing enters no folder twice, whatever links there are, and a name that is no UTF-8 is an error that says
where.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pyarrow import fs

from lvm_batch.io.errors import DataError, InputNotFound, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvm_batch.io.storage.locations import Location


MARKS = ("_delta_log",)
"""Hidden folders that are listed, though not entered, because they say what the folder around them is."""


def look_at(place: Location) -> fs.FileInfo:
    """Return what is at ``place``, perhaps nothing; raises :class:`InputNotFound` if the look-up fails."""
    try:
        return place.filesystem.get_file_info(place.path)
    except OSError as error:
        raise InputNotFound(
            f"{place.text} cannot be accessed: {error}", "check access and the address"
        ) from error


def listing(folder: Location, *, recursive: bool) -> Iterator[tuple[Location, fs.FileInfo]]:
    """Yield what is in ``folder``, at any depth if ``recursive``.

    Raises :class:`InputNotFound` if the folder cannot be listed, :class:`DataError` if two paths lead to one folder
    below it.
    """
    filesystem = folder.filesystem
    is_local = isinstance(filesystem, fs.LocalFileSystem)
    try:
        wanted = (
            list(_local_paths(folder.path, recursive=recursive))
            if is_local
            else fs.FileSelector(folder.path, recursive=recursive)
        )
        entries = filesystem.get_file_info(wanted)
    except OSError as error:
        raise InputNotFound(
            f"{folder.text} cannot be listed: {error}", "check access to everything below it"
        ) from error
    for found in entries:
        yield folder.child(found.path.removeprefix(folder.path).lstrip("/")), found


def is_hidden(name: str) -> bool:
    """Whether readers skip a file of this relative name."""
    return any(part.startswith(("_", ".")) for part in name.split("/"))


def refuse_long_names(folder: Location, names: Iterable[str]) -> None:
    """Raise :class:`OutputError` for the first of ``names`` that no file below ``folder`` can have.

    Names of outputs are longer than those of their inputs, and local file systems limit the bytes of a name and of a
    path; stores refuse by themselves.
    """
    if not folder.is_local:
        return
    place = Path(folder.path)
    existing = next(
        parent
        for parent in (place, *place.parents)
        if os.path.exists(parent)  # noqa: PTH110 - Path.exists() raises where the name is too long
    )
    max_name, max_path = (os.pathconf(existing, limit) for limit in ("PC_NAME_MAX", "PC_PATH_MAX"))
    for path in (f"{folder.path}/{name}" for name in names):
        longest = max(len(os.fsencode(part)) for part in path.split("/"))
        if longest > max_name or len(os.fsencode(path)) >= max_path:
            raise OutputError(
                f"{path} would be written, but it is too long: the file system allows names of {max_name} bytes and "
                f"paths of {max_path - 1}",
                "shorten the input's name, or the path of --output",
            )


def _local_paths(folder: str, *, recursive: bool) -> Iterator[str]:
    """Walk a local folder. Links are followed, but to no folder twice, or rows would be read twice, or, if a link
    leads up, as often as the system follows it.
    """
    seen = {os.path.realpath(folder): folder}
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    if entry.name in MARKS:
                        yield entry.path
                    continue
                yield _utf8(entry.path)
                if recursive and entry.is_dir():
                    _refuse_second_way(entry.path, seen)
                    waiting.append(entry.path)


def _refuse_second_way(path: str, seen: dict[str, str]) -> None:
    first = seen.setdefault(os.path.realpath(path), path)
    if first != path:
        raise DataError(
            f"{path} and {first} are the same folder, so its rows would be read twice",
            "remove the link, or list the folders to read one by one",
        )


def _utf8(path: str) -> str:
    """Return ``path``; raises :class:`DataError` if it is no UTF-8, as records and messages need it."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path!a} is a name that is not UTF-8", "rename it") from error
    return path
