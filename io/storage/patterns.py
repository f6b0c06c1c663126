"""Patterns such as ``in/date=2026-*/*.parquet``: where they begin, and which names they match.

The rule: a name is matched part by part, and a file or folder whose name is the pattern itself wins over what the
pattern matches.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING

from pyarrow import fs

from lvm_batch.io.storage.listing import look_at
from lvm_batch.io.storage.locations import Location

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAGIC = re.compile(r"[*?\[]")
_ANY = ("*", "**")


def is_pattern(text: str) -> bool:
    """Whether a path has special characters."""
    return _MAGIC.search(text) is not None


def cut_pattern(pattern: Location) -> tuple[Location, list[str]]:
    """Split a pattern into its root, the last folder before its first part with a special character, and its parts.

    A folder that exists under that very name belongs to the root, whatever characters it has.
    """
    parts = pattern.path.split("/")
    for n_fixed, part in enumerate(parts):
        if _MAGIC.search(part) and look_at(_head(pattern, parts, n_fixed + 1)).type != fs.FileType.Directory:
            return _head(pattern, parts, n_fixed), parts[n_fixed:]
    return pattern, []


def _head(pattern: Location, parts: list[str], n_parts: int) -> Location:
    cut = sum(len(part) + 1 for part in parts[n_parts:])
    text = pattern.text[: len(pattern.text) - cut]
    return Location(pattern.filesystem, "/".join(parts[:n_parts]) or "/", text or "/")


def matches_path(name: str, wanted: list[str]) -> bool:
    """Whether a pattern matches ``name`` or a folder above it."""
    names = name.split("/")
    return any(_matches(names[:n_parts], wanted) for n_parts in range(1, len(names) + 1))


def _matches(names: list[str], wanted: list[str]) -> bool:
    """Match part by part; ``**`` stands for any number of folders."""
    if not wanted:
        return not names
    if wanted[0] == "**":
        return any(_matches(names[i:], wanted[1:]) for i in range(len(names) + 1))
    return bool(names) and bool(re.match(translate(wanted[0]), names[0])) and _matches(names[1:], wanted[1:])


def matches_by_name(name: str, wanted: Sequence[str]) -> bool:
    """Whether the last part of a pattern names this file; ``*`` names nothing."""
    return wanted[-1] not in _ANY and _matches(name.split("/"), list(wanted))
