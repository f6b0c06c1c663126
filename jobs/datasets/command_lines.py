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
from lvm_batch.io.storage.locations import is_within, locate
from lvm_batch.io.storage.patterns import cut_pattern

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
    """Return a folder that does not exist for the sorted rows of a dataset."""
    return free_path(f"{base_path(dataset)}-sorted")


def base_path(dataset: Sequence[str]) -> str:
    """Return the beginning of the paths of what is made of a dataset: its name, in the working folder.

    If the working folder lies in the dataset, they are beside the dataset, or they would become part of it.
    """
    name = _name(dataset[0]) if len(dataset) == 1 else "dataset"
    around = [root for root in map(_root, dataset) if root and is_within(locate(os.curdir), locate(root))]
    if not around:
        return name
    outside = os.path.dirname(min(map(os.path.realpath, around), key=len))  # noqa: PTH120 - a text
    return os.path.join(os.path.relpath(outside), name)  # noqa: PTH118 - likewise


def from_here(path: str) -> str:
    """Return a path relative to the working folder, if it is below it."""
    return path.removeprefix(f"{os.getcwd().rstrip('/')}/")  # noqa: PTH109 - a text


def free_path(wanted: str) -> str:
    """Return ``wanted``, or with a number after it, where nothing is yet."""
    others = (f"{wanted}-{number}" for number in range(2, _NUMBERED))
    return next((path for path in (wanted, *others) if not os.path.lexists(path)), wanted)


def _name(argument: str) -> str:
    """Return what an argument is called: a file without its suffix, a folder, or the folder where a pattern begins."""
    if _is_remote(argument):
        parts = [part for part in argument.split("/") if part and not set(part) & set("*?[:")]
    elif os.path.isfile(argument):  # noqa: PTH113 - a text that can be no path is no file
        parts = argument.split("/")
    else:
        parts = os.path.realpath(cut_pattern(locate(argument))[0].path).split("/")
        return parts[-1] or "dataset"
    return os.path.splitext(parts[-1])[0] if parts else "dataset"  # noqa: PTH122 - a text


def _root(argument: str) -> str | None:
    """Return the local folder below which an argument reads files at any depth; ``None`` if there is none."""
    if _is_remote(argument) or os.path.isfile(argument):  # noqa: PTH113 - a text that can be no path is no file
        return None
    root, wanted = cut_pattern(locate(argument))
    return root.path if len(wanted) != 1 or wanted == ["**"] else None


def _is_remote(argument: str) -> bool:
    return "://" in argument and not argument.startswith("file://")
