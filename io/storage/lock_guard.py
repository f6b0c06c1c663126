"""The lock of an output folder while a run holds it, and the documents that it declares valid.

The rule: a run that has lost the output finds out before it writes anything. If it has written all the same, that does
not count: of the documents that describe the output, readers accept only those that the lock's own object declares,
and only the holder can change that object, in one step (a fencing token). A lock of this machine cannot be lost and
declares nothing: there everything counts.

    {"holder": …, "told": {"_SUCCESS": SHA-256 or null, "_lvm_batch/grown": the last growth that counts, …}}
"""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    Digests = Mapping[str, str | None]


class LockGuard(Protocol):
    """The lock of an output folder, while it is held."""

    @property
    def digests(self) -> Digests:
        """The digest of each document that counts, by its name."""

    def check(self) -> None:
        """Raise :class:`OutputLocked` if another run is known to hold the output."""

    def declare(self, digests: Digests) -> None:
        """Declare documents valid, in one step; raises :class:`OutputLocked` if another run holds the output."""


class LocalLockGuard:
    """A lock of this machine."""

    digests: Digests = MappingProxyType({})

    def check(self) -> None:
        """Nothing to do."""

    def declare(self, digests: Digests) -> None:
        """Nothing to do."""


def digests_in_lock(lock: bytes | None) -> Digests:
    """Return the digests that the lock with these bytes declares: none without a lock, or from an older version."""
    digests = owner_in(lock or b"").get("told")
    return digests if isinstance(digests, dict) else {}


def owner_in(lock: bytes) -> dict[str, Any]:
    """Return the owner of the lock with these bytes: ``holder`` (``None`` if it is free), ``host`` and ``pid``."""
    try:
        owner = json.loads(lock)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def digest(content: bytes | None) -> str | None:
    """Return the digest of a document, ``None`` if there is no document."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def counts(digests: Digests, name: str, content: bytes) -> bool:
    """Whether a document with these bytes counts: it is the one declared, or none of its name is."""
    return name not in digests or digests[name] == digest(content)
