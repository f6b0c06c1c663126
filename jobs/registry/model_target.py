"""The file that a model is written to in another form.

The rule: whether it can be written is known before a model is loaded, and no file is written over. Missing folders are
made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.errors import OutputError
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.output_folder import writing
from lvm_batch.lvm.checkpoints.checkpoint_files import write_durably

if TYPE_CHECKING:
    from collections.abc import Sequence


def new_model_file(target: str, suffixes: Sequence[str]) -> Path:
    """Return the path of the file to write, whose name ends in one of ``suffixes``.

    Raises ``UsageError`` or ``OutputError`` if it cannot be written.
    """
    if "://" in target:
        raise UsageError(
            f"{target}: a model is written to this machine", "give a path, and copy it from there"
        )
    path = Path(target)
    if path.suffix not in suffixes:
        wrong = "does not end in" if len(suffixes) == 1 else "ends in neither"
        raise UsageError(f"{target} {wrong} {' nor '.join(suffixes)}", "the end says what is written")
    if os.path.lexists(path):
        raise OutputError(f"{target} already exists", "give another name: no file is overwritten")
    there = next((folder for folder in path.parents if os.path.lexists(folder)), path.parent)
    if not there.is_dir():
        raise OutputError(f"{target} cannot be written: {there} is not a folder", "give another path")
    return path


def write_model_file(path: Path, data: bytes) -> None:
    """Write a file of :func:`new_model_file`, and the folders that it lacks; raises ``OutputError``."""
    with writing(path, hint="check access to its folder, or make room"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)
