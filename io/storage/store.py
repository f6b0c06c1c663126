"""A folder that files are published into: the protocol of one, and the local one.

The rule: under its final name a file is whole or not there; locally that is a rename on the same file system.
"""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lvm_batch.io.errors import OutputError, output_errors
from lvm_batch.io.storage.listing import is_hidden
from lvm_batch.io.storage.locations import bucket_of, locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager


class Store(Protocol):
    """A folder as the commit protocol needs it; names are relative, with ``/`` between parts."""

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or ``None`` if there is no such file."""

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Return what :meth:`read` does, for each of the names."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file whole, replacing one that may be there."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless the name is taken; return whether it was written."""

    def swap(self, name: str, content: bytes, *, before: bytes | None) -> bool:
        """Write a small file if the present one holds ``before`` (``None``: no file); return whether it was written."""

    def append(self, name: str, content: bytes) -> None:
        """Append ``content`` to a file."""

    def names(self, folder: str) -> list[str]:
        """List the files directly in ``folder`` (``""`` is the top), sorted, by their bare names."""

    def first_visible(self) -> str | None:
        """Return the name of one file, at any depth, that readers of the folder would read, if there is one."""

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or ``None`` if there is no such file."""

    def visible_sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file, at any depth, that readers of the folder would read, by name."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    def stage(self) -> AbstractContextManager[Path]:
        """Yield a local path to write to; it is removed when the block ends."""

    def publish(self, staged: Path, name: str) -> None:
        """Make the whole staged file visible as ``name``, where a machine that fails does not take it away."""

    def publish_new(self, staged: Path, name: str) -> bool:
        """Make the whole staged file visible unless the name is taken; return whether it was."""


def open_store(text: str, *, staging: str, may_change: Callable[[], None] = lambda: None) -> Store:
    """Open the folder at ``text``, a path or a URL; ``staging`` names the subfolder for files being written.

    In an object store, where another run may take the folder over, ``may_change`` is called before each change and
    raises what forbids it.
    """
    refuse_read_only(text)
    place = locate(text)
    if place.is_local:
        return LocalStore(Path(place.path), staging)
    from lvm_batch.io.storage.object_store import ObjectStore  # noqa: PLC0415 - it needs an extra

    return ObjectStore(*bucket_of(place), place.text, staging=staging, may_change=may_change)


def is_read_only(text: str) -> bool:
    """Return whether nothing can be written to a path or URL, whoever asks."""
    return text.lower().startswith("hf://")


def refuse_read_only(text: str) -> None:
    """Raise :class:`OutputError` if :func:`is_read_only`."""
    if is_read_only(text):
        raise OutputError(
            f"{text} cannot be written: datasets of the Hugging Face Hub are only read",
            "choose a local folder and upload it afterwards (`hf upload-large-folder`), or a bucket: s3://, gs://, az://",
        )


class LocalStore:
    """A local folder; failures of its file system are :class:`OutputError`."""

    def __init__(self, root: Path, staging: str) -> None:
        self._root = root
        self._staging = root / staging

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or ``None``."""
        with self._naming(name, "read"):
            try:
                return (self._root / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Read one after the other: opening local files is fast."""
        return [self.read(name) for name in names]

    def write(self, name: str, content: bytes) -> None:
        """Write to the staging folder, then rename."""
        with self._naming(name, "written"), self._written(content) as staged:
            self.publish(staged, name)

    def create(self, name: str, content: bytes) -> bool:
        """Write to the staging folder, then link."""
        with self._naming(name, "written"), self._written(content) as staged:
            return self.publish_new(staged, name)

    def swap(self, name: str, content: bytes, *, before: bytes | None) -> bool:
        """Compare, then write: the run's lock keeps other runs away, though not workers that outlive it."""
        if before is None:
            return self.create(name, content)
        if self.read(name) != before:
            return False
        self.write(name, content)
        return True

    def append(self, name: str, content: bytes) -> None:
        """Append in place."""
        with self._naming(name, "written"), self._parent_made(name).open("ab") as file:
            file.write(content)

    def names(self, folder: str) -> list[str]:
        """List files."""
        with self._naming(folder, "listed"):
            try:
                return sorted(entry.name for entry in os.scandir(self._root / folder) if entry.is_file())
            except (FileNotFoundError, NotADirectoryError):
                return []

    def first_visible(self) -> str | None:
        """Walk down to the first file."""
        return next(self._visible(), None)

    def size(self, name: str) -> int | None:
        """Stat the file."""
        with self._naming(name, "accessed"):
            try:
                return (self._root / name).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def visible_sizes(self) -> dict[str, int]:
        """Walk down to all files."""
        root = str(self._root)
        with self._naming("", "listed"):
            return {name: os.stat(f"{root}/{name}").st_size for name in self._visible()}  # noqa: PTH116 - twice as fast

    def remove(self, name: str) -> None:
        """Unlink."""
        with self._naming(name, "removed"):
            (self._root / name).unlink(missing_ok=True)

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Stage on the same file system, so that publishing is a rename."""
        staged = self._staging / f"{uuid.uuid4().hex}.part"
        with self._naming(str(self._staging), "written"):
            self._staging.mkdir(parents=True, exist_ok=True)
        try:
            yield staged
        finally:
            with self._naming(str(self._staging), "written"):
                staged.unlink(missing_ok=True)

    def publish(self, staged: Path, name: str) -> None:
        """Sync the file, rename it, and sync the folder."""
        with self._naming(name, "written"):
            final = self._parent_made(name)
            _sync(staged)
            staged.replace(final)
            _sync(final.parent)

    def publish_new(self, staged: Path, name: str) -> bool:
        """Sync the file, link it, which fails if the name is taken, and sync the folder."""
        with self._naming(name, "written"):
            final = self._parent_made(name)
            _sync(staged)
            try:
                os.link(staged, final)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links: the run's lock has to suffice
                if final.exists():
                    return False
                staged.replace(final)
            _sync(final.parent)
        return True

    def _visible(self) -> Iterator[str]:
        root = str(self._root)
        for folder, below, files in os.walk(root):
            below[:] = sorted(name for name in below if not is_hidden(name))
            prefix = f"{folder}/".removeprefix(f"{root}/").replace(os.sep, "/")
            yield from (f"{prefix}{name}" for name in sorted(files) if not is_hidden(name))

    def _parent_made(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def _written(self, content: bytes) -> Iterator[Path]:
        with self.stage() as staged:
            staged.write_bytes(content)
            yield staged

    def _naming(self, name: str, done: str) -> AbstractContextManager[None]:
        return output_errors(
            f"{self._root / name} cannot be {done}", "fix that, or choose another folder, then run again"
        )


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or the names of a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
