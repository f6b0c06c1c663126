"""The documents that say what an output is; those count that are named in its lock.

The rule: a document is named in the lock before it is written; one that follows others in a folder, after it is
written. Either way a run that has lost the output, and so can name nothing any more, changes nothing by what it still
writes. Where a lock names nothing, on a disk or of an older version, every document counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.storage.json_documents import as_json
from lvm_batch.io.storage.lock_guard import counts, digest, digests_in_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvm_batch.io.storage.json_documents import JsonDocuments
    from lvm_batch.io.storage.lock_guard import Digests, LockGuard
    from lvm_batch.io.storage.store import Store


class CountedDocuments:
    """Documents of ``store``, seen by the run that has the ``hold``, or by readers, who look at its lock."""

    def __init__(self, store: Store, documents: JsonDocuments, *, lock: str, hold: LockGuard | None) -> None:
        self._store = store
        self._documents = documents
        self._lock = lock
        self._hold = hold

    def content(self, name: str) -> bytes | None:
        """Return the bytes of a document that counts, or ``None``."""
        content = self._store.read(name)
        return content if content is not None and counts(self._told(), name, content) else None

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a document that counts, or ``None``; raises :class:`OutputError` if it is damaged."""
        return self._documents.parsed(name, self.content(name))

    def set(self, values: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write documents, in this order, or remove them where there is no value."""
        contents = {name: None if value is None else as_json(value) for name, value in values.items()}
        self._tell({name: digest(content) for name, content in contents.items()})
        for name, content in contents.items():
            if content is not None:
                self._store.write(name, content)
            elif (
                self._store.size(name) is not None
            ):  # a removal that comes late might meet another run's document
                self._store.remove(name)

    def names(self, folder: str) -> list[str]:
        """Return the names of a folder's documents that count, sorted."""
        last = self._told().get(folder)
        return [name for name in self._documents.names(folder) if last is None or name <= last]

    def add(self, folder: str, value: Mapping[str, Any]) -> None:
        """Put a document behind those of a folder that count."""
        names = self.names(folder)
        number = len(names) + 1
        while (name := f"{folder}/{number:05d}.json") in names:
            number += 1
        self._documents.write(name, value)
        self._tell({folder: max([*names, name])})

    def begin(self, names: Sequence[str], *, folder: str) -> None:
        """Name the documents that are there now, where nothing has been named yet."""
        if self._hold is not None and folder not in self._hold.digests:
            found = {name: digest(self._store.read(name)) for name in names}
            self._hold.declare({**found, folder: max(self._documents.names(folder), default="")})

    def _told(self) -> Digests:
        return digests_in_lock(self._store.read(self._lock)) if self._hold is None else self._hold.digests

    def _tell(self, digests: Digests) -> None:
        if self._hold is not None:
            self._hold.declare(digests)
