"""Where bytes are: a local path or a URL, and the file system that reaches it.

The rule: a place is named by text, an absolute path or a URL, everywhere but here; the text travels in plans,
records and messages, and each process opens its own file system from it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow as pa
from pyarrow import fs

from lvm_batch.io.errors import DataError, InputNotFound


@dataclass(frozen=True, slots=True)
class Location:
    """One place: ``path`` is what ``filesystem`` calls it, ``text`` what people and records call it."""

    filesystem: fs.FileSystem
    path: str
    text: str

    @property
    def is_local(self) -> bool:
        """Whether this is a path of this machine."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, name: str) -> Location:
        """Return the place called ``name`` below this one."""
        return Location(self.filesystem, f"{self.path.rstrip('/')}/{name}", f"{self.text.rstrip('/')}/{name}")


def locate(text: str) -> Location:
    """Open the file system that ``text``, a path or a URL (``s3://``, ``gs://``, ``file://``), points into.

    Local paths become absolute. Raises :class:`DataError` for a URL of an unknown kind.
    """
    scheme, _, rest = text.partition("://") if "://" in text else ("", "", text)
    if scheme.lower() in {"", "file"}:
        path = (
            unquote(f"/{rest.partition('/')[2]}") if scheme else text
        )  # `?` begins no query: it may be a pattern's
        path = str(Path(os.path.abspath(path)))  # noqa: PTH100 - resolve() would follow links and change names
        return Location(fs.LocalFileSystem(), path, path)
    text = text.rstrip("/")
    bucket, _, key = rest.rstrip("/").partition("/")
    filesystem = _remote_filesystem(f"{scheme}://{bucket}")
    return Location(filesystem, f"{bucket}/{key}".rstrip("/"), text)


@lru_cache(maxsize=32)
def _remote_filesystem(root: str) -> fs.FileSystem:
    try:
        filesystem, _ = fs.FileSystem.from_uri(quote(root, safe=":/@%"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{root} cannot be opened: {error}", "use a local path, or a URL with s3://, gs:// or file://"
        ) from error
    return filesystem


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
    """Whether ``inner`` is ``outer`` or lies below it; links are followed on this machine."""
    if inner.is_local != outer.is_local:
        return False
    if inner.is_local:
        return Path(inner.path).resolve().is_relative_to(Path(outer.path).resolve())
    return inner.text == outer.text or inner.text.startswith(f"{outer.text}/")
