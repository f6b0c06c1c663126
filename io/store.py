"""A folder that files are published into: on this machine, or in an object store.

The rule: under its final name a file is whole or not there. Locally that is a rename on the same file system; in
an object store it is one upload, which becomes visible when it completes. This module does not know what the
files are.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
from pyarrow import fs

from lvm_batch.io.errors import OutputError
from lvm_batch.io.locations import Location, locate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


_WITHOUT_FOLDERS = {"s3", "gcs", "abfs"}


class Store(Protocol):
    """What the commit protocol needs of a folder; names are relative, with ``/`` between parts."""

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or ``None`` if there is no such file."""

    def write(self, name: str, content: bytes) -> None:
        """Put a small file there, whole, in place of one that may be there."""

    def create(self, name: str, content: bytes) -> bool:
        """Put a small file there unless the name is taken; say whether it was put."""

    def append(self, name: str, content: bytes) -> None:
        """Put ``content`` behind what the file holds."""

    def names(self, folder: str) -> list[str]:
        """List the files right below ``folder`` (``""`` is the top), without it, sorted."""

    def first_visible(self) -> str | None:
        """Return the name of one file, at any depth, that readers of the folder would take, if there is one."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    def stage(self) -> AbstractContextManager[Path]:
        """Give a local path to write to, gone when the block is left."""

    def publish(self, staged: Path, name: str) -> None:
        """Make the staged file visible as ``name``, whole."""


def open_store(text: str, *, staging: str) -> Store:
    """Open the folder at ``text``, a path or a URL; ``staging`` names the subfolder for files being written."""
    place = locate(text)
    return LocalStore(Path(place.path), staging) if place.is_local else ObjectStore(place)


class LocalStore:
    """A folder of this machine."""

    def __init__(self, root: Path, staging: str) -> None:
        self._root = root
        self._staging = root / staging

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or ``None``."""
        try:
            return (self._root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write beside, then rename."""
        with self._written(content) as staged:
            self.publish(staged, name)

    def create(self, name: str, content: bytes) -> bool:
        """Link a written file under the name, which fails if the name is taken."""
        with self._written(content) as staged:
            try:
                os.link(staged, self._parent_made(name))
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links: the run's lock must do
                if (self._root / name).exists():
                    return False
                self.publish(staged, name)
        return True

    def append(self, name: str, content: bytes) -> None:
        """Append in place."""
        with self._parent_made(name).open("ab") as file:
            file.write(content)

    def names(self, folder: str) -> list[str]:
        """List files."""
        try:
            return sorted(entry.name for entry in os.scandir(self._root / folder) if entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def first_visible(self) -> str | None:
        """Walk down to the first file."""
        for folder, below, files in os.walk(self._root):
            below[:] = sorted(name for name in below if not _is_hidden(name))
            for name in sorted(files):
                if not _is_hidden(name):
                    return (Path(folder) / name).relative_to(self._root).as_posix()
        return None

    def remove(self, name: str) -> None:
        """Unlink."""
        (self._root / name).unlink(missing_ok=True)

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Stage on the same file system, so that publishing is a rename."""
        self._staging.mkdir(parents=True, exist_ok=True)
        staged = self._staging / f"{uuid.uuid4().hex}.part"
        try:
            yield staged
        finally:
            staged.unlink(missing_ok=True)

    def publish(self, staged: Path, name: str) -> None:
        """Rename, and write down the rename."""
        final = self._parent_made(name)
        staged.replace(final)
        _sync_folder(final.parent)

    def _parent_made(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def _written(self, content: bytes) -> Iterator[Path]:
        with self.stage() as staged:
            with staged.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield staged


class ObjectStore:
    """A prefix of a bucket, through Arrow's file systems."""

    def __init__(self, place: Location) -> None:
        self._place = place

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, or ``None``."""
        try:
            with self._place.filesystem.open_input_stream(self._path(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Upload in one request."""
        self._make_parent(name)
        with self._place.filesystem.open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def create(self, name: str, content: bytes) -> bool:
        """Look, then upload: two runs that begin in the same instant may both succeed."""
        if self.read(name) is not None:
            return False
        self.write(name, content)
        return True

    def append(self, name: str, content: bytes) -> None:
        """Upload anew: objects do not grow."""
        self.write(name, (self.read(name) or b"") + content)

    def names(self, folder: str) -> list[str]:
        """List objects."""
        return sorted(info.base_name for info in self._below(folder) if info.type == fs.FileType.File)

    def first_visible(self) -> str | None:
        """Look at the top: a store has no folder but for what lies in it."""
        return min(
            (info.base_name for info in self._below("") if not _is_hidden(info.base_name)), default=None
        )

    def remove(self, name: str) -> None:
        """Delete the object."""
        if self._place.filesystem.get_file_info(self._path(name)).type == fs.FileType.File:
            self._place.filesystem.delete_file(self._path(name))

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Stage on the local disk; nothing is visible in the store before it is whole."""
        folder = Path(tempfile.mkdtemp(prefix="lvm-batch-"))
        try:
            yield folder / "staged.part"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path, name: str) -> None:
        """Upload; the object appears when the upload completes."""
        try:
            self._make_parent(name)
            fs.copy_files(
                str(staged),
                self._path(name),
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self._place.filesystem,
            )
        except (pa.ArrowException, OSError) as error:
            raise OutputError(
                f"{self._place.text}/{name} cannot be uploaded: {error}",
                "check access to the store, then run again",
            ) from error

    def _below(self, folder: str) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        try:
            return list(self._place.filesystem.get_file_info(selector))
        except NotADirectoryError:
            return []

    def _make_parent(self, name: str) -> None:
        """Make the folder of a file, where the store has folders: buckets would get empty objects by it."""
        if self._place.filesystem.type_name not in _WITHOUT_FOLDERS:
            self._place.filesystem.create_dir(self._path(name).rpartition("/")[0], recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._place.path}/{name}".rstrip("/")


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
