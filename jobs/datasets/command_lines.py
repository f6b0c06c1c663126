"""Commands for the user to paste, complete for their dataset.

The rule: a command works as it is printed: paths are quoted for a shell, and column names that the user gave are given
again.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.column_checks import column_flag
from lvm_batch.io.schema import ColumnNames
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvm_batch.jobs.settings.dataset import DatasetSettings

_SORTED_BY = ("vector", "article", "position")
_USUAL = ColumnNames()
_NUMBERED = 100


def command(*words: str) -> str:
    """Return an ``lvm-batch`` command line, quoted for a shell."""
    return shlex.join(["lvm-batch", *words])


def sort_command(settings: DatasetSettings, dataset: Sequence[str] = ()) -> str:
    """Return the command that writes the rows of a dataset in order, every article whole in one file.

    ``settings`` have the columns that were found. ``dataset`` is what to read in place of theirs.
    """
    output = sorted_folder(settings.dataset)
    flags = _unusual_columns(settings)
    return command("pack", *(dataset or settings.dataset), *flags, "--sort", "--output", output)


def _unusual_columns(settings: DatasetSettings) -> list[str]:
    """Return the options for the columns of sequences that do not have the usual names."""
    names = {part: getattr(settings, f"{part}_column") for part in _SORTED_BY}
    return flags_of({part: name for part, name in names.items() if name != getattr(_USUAL, part)})


def flags_of(columns: Mapping[str, str]) -> list[str]:
    """Return the options that name the columns of parts."""
    return [text for part, name in columns.items() for text in (column_flag(part), name)]


def sorted_folder(dataset: Sequence[str]) -> str:
    """Return a folder that does not exist, named after the dataset: ``data-sorted`` for ``data/``, beside it."""
    return free_path(f"{base_name(dataset)}-sorted")


def base_name(dataset: Sequence[str]) -> str:
    """Return what folders that are made of a dataset are named after: its path, or ``dataset`` if it has several."""
    return _stem(dataset[0]) if len(dataset) == 1 else "dataset"


def from_here(path: str) -> str:
    """Return a path relative to the working folder, if it is below it."""
    return path.removeprefix(f"{os.getcwd().rstrip('/')}/")  # noqa: PTH109 - a text


def free_path(wanted: str) -> str:
    """Return ``wanted``, or with a number after it, where nothing is yet."""
    others = (f"{wanted}-{number}" for number in range(2, _NUMBERED))
    return next((path for path in (wanted, *others) if not os.path.lexists(path)), wanted)


def _stem(argument: str) -> str:
    """Return the path of an argument without its suffix; for a URL or a pattern, a name for the working folder."""
    if not locate(argument).is_local or any(sign in argument for sign in "*?["):
        plain = [part for part in argument.split("/")[:-1] if part and not set(part) & set("*?[:")]
        return plain[-1] if plain else "dataset"
    path = argument.rstrip("/")
    if os.path.isdir(path):  # noqa: PTH112 - a text that can be no path is no folder
        return os.path.realpath(path) if path in {"", ".", ".."} else path
    return os.path.splitext(path)[0]  # noqa: PTH122 - likewise
