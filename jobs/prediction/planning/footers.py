"""The footers of a run's inputs, apart from the files that have none.

The rule: a file that cannot be read stops the run, unless ``--on-bad-file skip`` leaves it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.dataset.units import Footer
from lvm_batch.io.errors import UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.errors import DataError
    from lvm_batch.jobs.checks import Checks
    from lvm_batch.jobs.settings.run import RunSettings


def sort_out(
    found: Iterable[tuple[InputFile, Footer | DataError]], n_files: int, checks: Checks, settings: RunSettings
) -> tuple[list[Footer], tuple[UnreadableFile, ...]]:
    """Part footers from errors; with ``--on-bad-file skip``, a file that cannot be read is left out and is no error."""
    footers: list[Footer] = []
    unreadable: list[UnreadableFile] = []
    refused: list[tuple[str, DataError]] = []
    for file, footer in found:
        if isinstance(footer, Footer):
            footers.append(footer)
        elif settings.on_bad_file == "skip" and isinstance(footer, UnreadableFile):
            unreadable.append(footer)
        else:
            refused.append((file.path, footer))
    checks.add_of_files(refused, n_files)
    return footers, tuple(unreadable)
