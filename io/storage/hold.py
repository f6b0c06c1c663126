"""What a run holds that writes to an output folder, and what it tells readers of the folder by it.

The rule: whoever has lost the output finds out before it writes anything, and what it has written all the same counts
for nothing: of the documents that say what the output is, those count which the lock's own object tells. It can only be
changed by its holder, as one step. A lock of this machine cannot be lost, and tells nothing: there everything counts.

    {"holder": …, "told": {"_SUCCESS": SHA-256 or null, "_lvm_batch/grown": the last growth that counts, …}}

This module does not know what documents there are.
"""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    Told = Mapping[str, str | None]


class Hold(Protocol):
    """An output folder that is held."""

    @property
    def told(self) -> Told:
        """What readers are told."""

    def check(self) -> None:
        """Raise :class:`OutputLocked` if another run holds the output, as far as can be known."""

    def tell(self, told: Told) -> None:
        """Tell readers this too, as one step; raises :class:`OutputLocked` if another run holds the output."""


class LocalHold:
    """A lock of this machine."""

    told: Told = MappingProxyType({})

    def check(self) -> None:
        """Nothing to do."""

    def tell(self, told: Told) -> None:
        """Nothing to do."""


def told_by(lock: bytes | None) -> Told:
    """Return what the lock with these bytes tells; nothing where there is none, or it is of an older version."""
    told = owner_in(lock or b"").get("told")
    return told if isinstance(told, dict) else {}


def owner_in(lock: bytes) -> dict[str, Any]:
    """Return who holds the lock with these bytes: ``holder`` (``None`` if nobody does), ``host`` and ``pid``."""
    try:
        owner = json.loads(lock)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def digest(content: bytes | None) -> str | None:
    """Return what is told of a document's bytes, or of its absence."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def counts(told: Told, name: str, content: bytes) -> bool:
    """Whether a document with these bytes is the one that is told of, if any is."""
    return name not in told or told[name] == digest(content)
