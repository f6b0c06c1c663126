"""Small JSON documents of a folder, each one file.

The rule: a document that is there is a JSON object with all required keys; otherwise an error names it as damaged and
says what to do.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from lvm_batch.io.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvm_batch.io.storage.store import Store


class Kind(NamedTuple):
    """The keys that a document must have, and what to do about a damaged one."""

    required: frozenset[str]
    mend: str


_READ_AT_ONCE = 1000
"""How many documents are in memory as bytes at a time."""

_ANY = Kind(frozenset(), "remove that file and run again")


class JsonDocuments:
    """The documents of ``store``, whose address is ``text``; ``kinds`` maps their names, or folders, to their kinds."""

    def __init__(self, store: Store, text: str, *, kinds: Mapping[str, Kind]) -> None:
        self._store = store
        self._text = text
        self._kinds = kinds

    def read(self, name: str) -> dict[str, Any] | None:
        """Return one document, or ``None`` if it is not there; raises :class:`OutputError` if it is damaged."""
        return self.parsed(name, self._store.read(name))

    def read_all(self, folder: str) -> list[dict[str, Any]]:
        """Return the documents of a folder, by name; raises :class:`OutputError` if one is damaged."""
        return self.read_these(self.names(folder))

    def read_these(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return those of these documents that are there; raises :class:`OutputError` if one is damaged."""
        slices = (names[first : first + _READ_AT_ONCE] for first in range(0, len(names), _READ_AT_ONCE))
        found = (
            self.parsed(name, content)
            for some in slices
            for name, content in zip(some, self._store.read_many(some), strict=True)
        )
        return [document for document in found if document is not None]

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of a folder's documents, without files that network file systems leave there."""
        return [f"{folder}/{name}" for name in self._store.names(folder) if name.endswith(".json")]

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a document, replacing one that may be there."""
        self._store.write(name, as_json(value))

    def create(self, name: str, value: Mapping[str, Any]) -> bool:
        """Write a document unless it is there; return whether it was written."""
        return self._store.create(name, as_json(value))

    def parsed(self, name: str, content: bytes | None) -> dict[str, Any] | None:
        """Return the document that was read from ``name``; raises :class:`OutputError` if it is damaged."""
        if content is None:
            return None
        kind = self._kinds.get(name) or self._kinds.get(name.rpartition("/")[0], _ANY)
        try:
            value = json.loads(content, object_pairs_hook=_with_shared_keys)
        except (ValueError, RecursionError) as error:
            raise self._damaged(name, str(error), kind) from error
        if not isinstance(value, dict):
            raise self._damaged(name, "it is no JSON object", kind)
        if missing := kind.required - value.keys():
            raise self._damaged(name, f"it tells no {' and no '.join(sorted(missing))}", kind)
        return value

    def _damaged(self, name: str, why: str, kind: Kind) -> OutputError:
        return OutputError(f"{self._text}/{name} is damaged: {why}", kind.mend)


def as_json(value: Mapping[str, Any]) -> bytes:
    """Return a document's bytes; raises ``ValueError`` for NaN and infinity, which JSON does not have."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _with_shared_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keep one copy of each key for all records, which saves 200 MB for 100,000."""
    return {sys.intern(key): value for key, value in pairs}
