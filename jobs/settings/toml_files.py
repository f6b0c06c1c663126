"""TOML files that users write.

The rule: files are read as editors of all systems save them. An error says what is wrong, and in which line.
"""

from __future__ import annotations

import codecs
import tomllib
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.errors import Problem, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES = 2**20  # a device never ends
_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32's begins as UTF-16's


def read_toml(path: Path, *, option: str, hint: str) -> dict[str, Any]:
    """Parse the TOML file given by ``option``; raises SettingsError, with ``hint`` if the file is not TOML.

    A byte order mark, which some editors write before UTF-8, is ignored.
    """
    try:
        with path.open("rb") as file:
            return tomllib.loads(_text(file.read(_MAX_BYTES + 1), path))
    except OSError as error:
        problem = Problem(f"{path} cannot be read: {error.strerror}", f"give {option} a TOML file")
        raise SettingsError(problem) from error
    except (ValueError, RecursionError) as error:  # the latter of brackets within brackets
        raise SettingsError(Problem(f"{path} is not TOML: {error}", hint)) from error


def _text(content: bytes, path: Path) -> str:
    """Decode a file; raises SettingsError if it is too long, or if it is not UTF-8, naming the line."""
    if len(content) > _MAX_BYTES:
        problem = Problem(
            f"{path} is longer than {_MAX_BYTES:,} bytes, too long for a settings file", "check the path"
        )
        raise SettingsError(problem)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = "is UTF-16" if content.startswith(_OTHER_ENCODINGS) else f"is not UTF-8 in line {line}"
        raise SettingsError(Problem(f"{path} {found}", "save it as UTF-8 text")) from error
