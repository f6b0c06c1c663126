"""Commands for the user to paste, complete for their dataset.

The rule: a command works as it is printed: paths are quoted for a shell, and column names that the user gave are given
again.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import fields
from typing import TYPE_CHECKING

from lvm_batch.io.schema import ColumnNames
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.jobs.settings.dataset import DatasetSettings

_PACKED_PARTS = ("vector", "article", "position")
_NUMBERED = 100


def command(*words: str) -> str:
    """Return an ``lvm-batch`` command line, quoted for a shell."""
    return shlex.join(["lvm-batch", *words])


def sort_command(settings: DatasetSettings) -> str:
    """Return the command that writes the rows of a dataset in order, every article whole in one file."""
    flags = column_flags(settings, _PACKED_PARTS)
    return command("pack", *settings.dataset, *flags, "--sort", "--output", sorted_folder(settings.dataset))


def column_flags(settings: DatasetSettings, parts: Sequence[str] | None = None) -> list[str]:
    """Return the options that name the columns of ``parts``, by default of all, as far as the user named them."""
    names = parts or [part.name for part in fields(ColumnNames)]
    defaults = type(settings).model_fields
    given = {name: getattr(settings, f"{name}_column") for name in names}
    return [
        text
        for name, column in given.items()
        if column != defaults[f"{name}_column"].default
        for text in (f"--{name.replace('_', '-')}-column", column)
    ]


def sorted_folder(dataset: Sequence[str]) -> str:
    """Return a folder that does not exist, named after the dataset: ``data-sorted`` for ``data/``, beside it."""
    base = _stem(dataset[0]) if len(dataset) == 1 else "dataset"
    return free_path(f"{base}-sorted")


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
