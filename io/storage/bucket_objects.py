"""What a bucket says of its objects, and what an object holds.

The rule: importing this needs no client of any store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from obstore import ObjectMeta, PutResult, UpdateVersion

FOLDER_MARKER = "_$folder$"
"""How the names of empty objects end that Hadoop's file system for S3, EMR's too, leaves beside folders."""

# A file is uploaded in parts of this size, four at a time, and appears when the last part has arrived.
PART_BYTES = 8 * 2**20
PARTS_AT_ONCE = 4
UPLOAD_BYTES = PARTS_AT_ONCE * PART_BYTES
"""What is held of a file while it is uploaded."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object, or a folder, which is what the keys of several begin with; ``version`` is its entity tag."""

    key: str
    is_folder: bool = False
    size: int = 0
    modified: datetime | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The content of an object, and which of its versions that is."""

    content: bytes
    version: UpdateVersion


def version_of(described: ObjectMeta | PutResult) -> UpdateVersion:
    """Return what a condition on a version is made of; stores fill in one of these, or both."""
    version: UpdateVersion = {}
    if described["e_tag"]:
        version["e_tag"] = described["e_tag"]
    if described["version"]:
        version["version"] = described["version"]
    return version
