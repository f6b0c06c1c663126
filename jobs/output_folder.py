"""A local folder that a command writes its results to.

The rule: an unusable folder is refused before any work is done; a disk that fills up later is an ``OutputError``.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvm_batch.io.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def make_output_folder(output: str, *, what: str) -> Path:
    """Make the folder of ``--output``, where ``what`` will be written: "a model", "an evaluation".

    Raises ``OutputError`` if it is not a local path, or cannot be made or written.
    """
    check_output_folder(output, what=what)
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{output} cannot be made: {error.strerror}", "give --output another folder"
        ) from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{output} cannot be written", "give --output another folder")
    return folder


def check_output_folder(output: str, *, what: str) -> None:
    """Raise ``OutputError`` if ``--output`` is not a local path, or is a file; nothing is made."""
    if "://" in output:
        raise OutputError(
            f"{output}: {what} can only be written to a folder on this machine",
            "give --output a path, and copy the result from there",
        )
    if os.path.isfile(output):  # noqa: PTH113 - Path's own raises for a text that can be no path
        raise OutputError(f"{output} cannot be made: it is a file", "give --output another folder")


def as_json(values: Mapping[str, Any]) -> bytes:
    """Return a JSON document for people and programs; raises ``ValueError`` for a number that is not finite."""
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files, given by name; raises ``OutputError``."""
    for name, content in files.items():
        with writing(folder / name, hint="make room, or give --output another folder"):
            (folder / name).write_bytes(content)


@contextmanager
def writing(path: Path, *, hint: str) -> Iterator[None]:
    """Raise an ``OSError`` of the block, which writes to ``path``, as an ``OutputError``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}", hint) from error
