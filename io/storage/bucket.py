"""The objects of one bucket, over HTTP.

The rule: an object is there whole or not at all, and every request may be made twice, since the answer to the first
may be lost.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING

from lvm_batch.io.storage.bucket_conditions import Conditions
from lvm_batch.io.storage.bucket_errors import TRIES, AnswerCut, as_os_errors, retried
from lvm_batch.io.storage.bucket_objects import (
    FOLDER_MARKER,
    PART_BYTES,
    PARTS_AT_ONCE,
    ObjectInfo,
    StoredObject,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore


class Bucket:
    """A bucket or container; keys have ``/`` between their parts and are used unchanged.

    Every method raises ``OSError``: ``FileNotFoundError`` without the object or the bucket, ``PermissionError`` without
    access, ``ConnectionError`` without an answer.
    """

    def __init__(self, store: ObjectStore, *, open_hasty: Callable[[], ObjectStore] | None = None) -> None:
        self._store = store
        self._open_hasty = open_hasty
        self._conditions = Conditions(self, store)

    @cached_property
    def hasty(self) -> Bucket:
        """The same bucket with a short timeout and no retries."""
        return self if self._open_hasty is None else Bucket(self._open_hasty())

    @retried
    def look(self, key: str) -> ObjectInfo | None:
        """Return the object or folder at ``key``, if any; an empty object with others below it marks a folder."""
        found = self._head(key) if key else None
        if found is not None and found.size:
            return found
        with as_os_errors():
            below = next(iter(self._store.list(key or None, chunk_size=1)), None)
        return ObjectInfo(key, is_folder=True) if below or not key else found

    def below(self, folder: str) -> Iterator[ObjectInfo]:
        """Yield the objects at any depth below ``folder`` (``""`` is the bucket)."""
        last: str | None = None
        for left in reversed(range(TRIES)):
            try:
                with as_os_errors():
                    for chunk in self._store.list(folder or None, offset=last):
                        for meta in chunk:
                            last = meta["path"]
                            if not self._is_marker(meta):
                                yield _found(meta)
            except AnswerCut:
                if not left:
                    raise
            else:
                return

    @retried
    def right_below(self, folder: str) -> list[ObjectInfo]:
        """Return the objects and folders right below ``folder``."""
        with as_os_errors():
            listed = self._store.list_with_delimiter(folder or None)
        folders = [ObjectInfo(prefix, is_folder=True) for prefix in listed["common_prefixes"]]
        return [*folders, *(_found(meta) for meta in listed["objects"] if not self._is_marker(meta))]

    @retried
    def read(self, key: str) -> StoredObject:
        """Return the object's content; raises ``FileNotFoundError``."""
        with as_os_errors():
            result = self._store.get(key)
            return StoredObject(bytes(result.bytes()), version_of(result.meta))

    def read_if_there(self, key: str) -> StoredObject | None:
        """Return the object's content, or ``None`` if there is no such object."""
        try:
            return self.read(key)
        except FileNotFoundError:
            return None

    @retried
    def read_range(self, found: ObjectInfo, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to before ``end`` of exactly this version of the object."""
        with as_os_errors():
            options: GetOptions = {"range": (start, end)}
            if found.version:
                options["if_match"] = found.version
            result = self._store.get(found.key, options=options)
            return bytes(result.bytes())

    @retried
    def put(self, key: str, content: bytes | Path) -> None:
        """Upload bytes, or a file of this machine, replacing what may be there."""
        with as_os_errors():
            self._store.put(key, content, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def put_new(self, key: str, file: Path, *, aside: str) -> bool:
        """Do as :meth:`Conditions.put_new` does."""
        return self._conditions.put_new(key, file, aside=aside)

    def swap(self, key: str, content: bytes, current: StoredObject | None) -> StoredObject | None:
        """Do as :meth:`Conditions.swap` does."""
        return self._conditions.swap(key, content, current)

    def download(self, key: str, path: Path) -> None:
        """Download an object into a local file, several parts at a time."""
        found = self._head(key)
        if found is None:
            raise FileNotFoundError(key)
        starts = range(0, found.size, PART_BYTES)
        with path.open("wb") as file, ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
            for first in range(0, len(starts), PARTS_AT_ONCE):
                some = starts[first : first + PARTS_AT_ONCE]
                ends = [min(start + PART_BYTES, found.size) for start in some]
                file.writelines(pool.map(partial(self.read_range, found), some, ends))

    @retried
    def remove(self, key: str) -> None:
        """Delete the object, if it is there."""
        with as_os_errors():
            try:
                self._store.delete(key)
            except FileNotFoundError:
                return

    def _head(self, key: str) -> ObjectInfo | None:
        with as_os_errors():
            try:
                return _found(self._store.head(key))
            except FileNotFoundError:
                return None

    def _is_marker(self, meta: ObjectMeta) -> bool:
        """Whether this is the empty object by which consoles show a folder; listings drop the last ``/`` of its key."""
        # There may be very many of Hadoop's markers.
        is_empty = not meta["size"] and not meta["path"].endswith(FOLDER_MARKER)
        return is_empty and self._head(meta["path"]) is None


def _found(meta: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(meta["path"], size=meta["size"], modified=meta["last_modified"], version=meta["e_tag"])
