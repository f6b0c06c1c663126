"""A folder of an object store that files are published into.

The rule: an object appears whole when its upload completes, and an upload that is cut short leaves nothing visible. A
request may reach the store long after it was made, so every replacement is conditional on the version that was there
when this run was last known to hold the output. Only removals are unconditional, since stores have no condition for
them.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.errors import OutputError
from lvm_batch.io.storage.listing import is_hidden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lvm_batch.io.storage.bucket import Bucket
    from lvm_batch.io.storage.bucket_objects import StoredObject

_READERS = 32  # of small objects, which take a round trip each
_TRIES = 10


class ObjectStore:
    """The objects of a bucket whose keys begin with ``prefix``; ``text`` is the address."""

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        text: str,
        *,
        staging: str = "tmp",
        may_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._text = text
        self._staging = staging
        self._may_change = may_change

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, or ``None``."""
        with self._naming(name, "read"):
            try:
                return self._bucket.read(self._key(name)).content
            except FileNotFoundError:
                return None

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Read in parallel: each object takes a round trip."""
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self.read, names))

    def write(self, name: str, content: bytes) -> None:
        """Upload, replacing what is there now."""
        self._change(name, lambda _: content)

    def create(self, name: str, content: bytes) -> bool:
        """Upload if the name is free."""
        with self._changing(name, "uploaded"):
            return self._bucket.swap(self._key(name), content, None) is not None

    def swap(self, name: str, content: bytes, *, before: bytes | None) -> bool:
        """Upload if nothing has changed."""
        current = self._current(name)
        with self._changing(name, "uploaded"):
            is_there = (current and current.content) == before
            return is_there and self._bucket.swap(self._key(name), content, current) is not None

    def append(self, name: str, content: bytes) -> None:
        """Upload the whole object: objects cannot be appended to."""
        self._change(name, lambda before: before + content)

    def names(self, folder: str) -> list[str]:
        """List objects."""
        with self._naming(folder, "listed"):
            found = self._bucket.right_below(self._key(folder))
        return sorted(one.key.rpartition("/")[2] for one in found if not one.is_folder)

    def first_visible(self) -> str | None:
        """List keys up to the first visible one."""
        with self._naming("", "listed"):
            return next((name for name, _ in self._visible()), None)

    def size(self, name: str) -> int | None:
        """Ask for the object's head."""
        with self._naming(name, "accessed"):
            found = self._bucket.look(self._key(name))
            return None if found is None or found.is_folder else found.size

    def visible_sizes(self) -> dict[str, int]:
        """List all keys."""
        with self._naming("", "listed"):
            return dict(self._visible())

    def remove(self, name: str) -> None:
        """Delete the object."""
        with self._changing(name, "deleted"):
            self._bucket.remove(self._key(name))

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Stage on the local disk; nothing is visible in the store before it is whole."""
        folder = Path(tempfile.mkdtemp(prefix="lvm-batch-"))
        try:
            yield folder / "staged.part"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path, name: str) -> None:
        """Upload; the object appears when the upload completes.

        An upload in parts that is cut short leaves nothing visible. If only the answer to its completion is lost, a
        retry says that there is no such upload any more: uploading again settles it.
        """
        with self._changing(name, "uploaded"):
            try:
                self._bucket.put(self._key(name), staged)
            except FileNotFoundError:
                self._bucket.put(self._key(name), staged)

    def publish_new(self, staged: Path, name: str) -> bool:
        """Upload if the name is free when the upload completes."""
        aside = self._key(f"{self._staging}/{uuid.uuid4().hex}.part")
        with self._changing(name, "uploaded"):
            return self._bucket.put_new(self._key(name), staged, aside=aside)

    def _current(self, name: str) -> StoredObject | None:
        with self._naming(name, "uploaded"):
            return self._bucket.read_if_there(self._key(name))

    def _change(self, name: str, changed: Callable[[bytes], bytes]) -> None:
        """Upload ``changed(current bytes)``; repeat if they have changed in between."""
        for _ in range(_TRIES):
            current = self._current(name)
            with self._changing(name, "uploaded"):
                content = changed(current.content if current else b"")
                if self._bucket.swap(self._key(name), content, current):
                    return
        raise OutputError(
            f"{self._text}/{name} cannot be uploaded: it keeps changing",
            "check what else writes there, then run again",
        )

    def _visible(self) -> Iterator[tuple[str, int]]:
        for found in self._bucket.below(self._prefix):
            name = found.key.removeprefix(self._prefix).lstrip("/")
            if not is_hidden(name):
                yield name, found.size

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".strip("/")

    @contextmanager
    def _changing(self, name: str, done: str) -> Iterator[None]:
        self._may_change()
        with self._naming(name, done):
            yield

    @contextmanager
    def _naming(self, name: str, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._text}/{name}".rstrip("/") + f" cannot be {done}: {error}",
                "check access to the store, then run again",
            ) from error
