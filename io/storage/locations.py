"""Where bytes are: a local path or a URL, and the file system that reaches it.

The rule: everywhere else a place is text, an absolute path or a URL, which travels in plans, records and messages;
each process opens its own file system from it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from lvm_batch.io.errors import DataError, InputNotFound
from lvm_batch.io.hub.address import SCHEME as HUB
from lvm_batch.io.hub.address import pinned
from lvm_batch.io.storage.bucket_access import EXTRAS, check_address, open_bucket
from lvm_batch.io.storage.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.storage.bucket import Bucket
    from lvm_batch.io.storage.object_file import ObjectFile


@dataclass(frozen=True, slots=True)
class Location:
    """One place: ``path`` is its name in ``filesystem``, ``text`` its name in records and messages."""

    filesystem: fs.FileSystem
    path: str
    text: str

    @property
    def is_local(self) -> bool:
        """Whether this is a local path."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, name: str) -> Location:
        """Return the place called ``name`` below this one."""
        return Location(self.filesystem, f"{self.path.rstrip('/')}/{name}", f"{self.text.rstrip('/')}/{name}")


def locate(text: str) -> Location:
    """Open the file system that ``text`` points into, a path or a URL.

    Schemes are ``s3://``, ``gs://``, ``az://``, ``hf://`` and ``file://``, with those that mean the same. Local paths
    become absolute, and a dataset of the Hugging Face Hub gets the commit of its revision. Raises :class:`DataError`
    for a URL of an unknown scheme or with credentials, for text that cannot be a path, and if the store needs a package
    or a setting that is missing; :class:`InputNotFound` for a dataset of the hub that cannot be read.
    """
    if "\0" in text or (not text.isascii() and _is_not_utf8(text)):
        raise DataError(
            f"{redact(text)!a} is not a path: it has a null character or bytes that are not UTF-8",
            "rename it",
        )
    scheme, _, rest = text.partition("://") if "://" in text else ("", "", text)
    if scheme.lower() in {"", "file"}:
        path = _path_of_url(rest, text) if scheme else text
        path = str(Path(os.path.abspath(path)))  # noqa: PTH100 - resolve() would follow links and change names
        return Location(fs.LocalFileSystem(), path, path)
    return _locate_remote(scheme.lower(), rest.rstrip("/"), text)


def _path_of_url(rest: str, text: str) -> str:
    """Return the path of a ``file://`` URL; ``?`` begins no query, since it may be part of a pattern."""
    host, _, path = rest.partition("/")
    if host.lower() not in {"", "localhost"}:
        raise DataError(
            f"{text} names the machine {host!r} after its two slashes: a file:// URL can only name this machine",
            f"write an absolute path after three slashes, as in file:///{path or 'folder'}, or the path alone",
        )
    return unquote(f"/{path}")


def _locate_remote(scheme: str, path: str, text: str) -> Location:
    check_address(text)
    path = pinned(path) if scheme == HUB else path
    bucket, _, key = path.partition("/")
    if scheme not in EXTRAS or not bucket:
        raise DataError(
            f"{redact(text)} cannot be opened: {'it names no bucket' if scheme in EXTRAS else 'no such store'}",
            "use a local path, or a URL with s3://, gs://, az://, hf:// or file://",
        )
    if "" in key.split("/")[:-1]:
        raise DataError(f"{text} has an empty part between two `/`", "copy the object to a key without")
    return Location(_remote_filesystem(scheme, bucket), path, f"{scheme}://{path}")


def _is_not_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


@lru_cache(maxsize=32)
def _remote_filesystem(scheme: str, bucket: str) -> fs.FileSystem:
    opened = open_bucket(scheme, bucket)
    from lvm_batch.io.storage.bucket_filesystem import BucketFileSystem  # noqa: PLC0415 - it needs an extra

    return fs.PyFileSystem(BucketFileSystem(opened, bucket, scheme))


def bucket_of(place: Location) -> tuple[Bucket, str]:
    """Return the bucket of a place in a store, and the key of the place there."""
    handler = place.filesystem.handler
    return handler.bucket, handler.key(place.path)


def open_object(place: Location) -> ObjectFile:
    """Open a file of a store to be read in parts; raises ``OSError`` if it is not there."""
    opened: ObjectFile = place.filesystem.handler.open_object(place.path)
    return opened


def read_file(text: str) -> bytes:
    """Return the bytes of the file at ``text``; raises :class:`InputNotFound`."""
    place = locate(text)
    try:
        with place.filesystem.open_input_stream(place.path) as stream:
            return bytes(stream.read())
    except (pa.ArrowException, OSError) as error:
        raise InputNotFound(f"{text} cannot be read: {error}", "check the path and access to it") from error


def relative_name(location: Location, root: Location) -> str:
    """Return ``location``'s name below ``root``, with ``/`` between its parts."""
    return location.path.removeprefix(root.path).lstrip("/")


def is_within(inner: Location, outer: Location) -> bool:
    """Whether ``inner`` is ``outer`` or lies below it, whatever paths name the two."""
    (folder, missing), *_ = identities_above(outer)
    return any(
        found == folder and below[: len(missing)] == missing for found, below in identities_above(inner)
    )


def identities_above(place: Location) -> Iterator[tuple[object, list[str]]]:
    """Yield the identity of ``place`` and of each folder above it, with the parts of the path that lie below it.

    Locally only folders that exist count, with links followed; in a store, all.
    """
    parts = real_path(place).split("/")
    for n_parts in range(len(parts), 0, -1):
        text = "/".join(parts[:n_parts]) or "/"
        if found := identity(Location(place.filesystem, text, text)):
            yield found, [part for part in parts[n_parts:] if part]


def folders_above(place: Location) -> Iterator[Location]:
    """Yield the folders that ``place`` lies in, with links followed, the nearest first."""
    path, text = (real_path(place),) * 2 if place.is_local else (place.path, place.text)
    while path := path.rpartition("/")[0]:
        text = text.rpartition("/")[0]
        yield Location(place.filesystem, path, text)


def identity(place: Location) -> object:
    """Return what identifies a place, whatever path names it; ``None`` if it is not there.

    Locally this comes from the file system, so that links, mounts and letter case do not matter.
    """
    if not place.is_local:
        return place.text
    try:
        found = os.stat(place.path)  # noqa: PTH116 - Path takes twice the time
    except OSError:
        return None
    return found.st_dev, found.st_ino


def real_path(place: Location) -> str:
    """Return the path of a place with links followed, as text."""
    return os.path.realpath(place.path) if place.is_local else place.text
