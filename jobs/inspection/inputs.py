"""The files that a dataset's arguments stand for, whatever their format.

The rule: what a run would refuse is found too, with the reason why a run refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.data_files import PACKABLE, FileKinds
from lvm_batch.io.dataset.files import list_files, refuse_doubles
from lvm_batch.io.errors import DataError, InputNotFound
from lvm_batch.jobs.errors import Problem
from lvm_batch.jobs.inspection.other_formats import COMPRESSED, KNOWN, suffix_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.dataset.files import DatasetListing, InputFile

_OTHER_KINDS = FileKinds(
    (*KNOWN, *(f"{suffix}{end}" for suffix in KNOWN for end in COMPRESSED)), PACKABLE.beginnings
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """``files`` are read as Parquet; ``others`` have another format.

    ``not_read`` names what is passed over, ``notices`` count it, ``problems`` are what a run would refuse of the list.
    """

    files: list[InputFile]
    others: list[InputFile]
    not_read: tuple[str, ...]
    notices: tuple[str, ...]
    problems: tuple[Problem, ...]


def find_inputs(arguments: Sequence[str]) -> Inputs:
    """Find the files of a dataset; raises ``DataError`` if there is nothing to look at."""
    try:
        listing = list_files(arguments)
    except InputNotFound:
        listing = _of_other_formats(arguments)
    named = {file.path: file for file in listing.files}  # a file that is given twice is described once
    others = [file for file in named.values() if suffix_of(file.name) in KNOWN]
    files = [file for file in named.values() if suffix_of(file.name) not in KNOWN]
    return Inputs(files, others, listing.others, tuple(listing.notices), _refusals(listing.files))


def _of_other_formats(arguments: Sequence[str]) -> DatasetListing:
    """Find files of another format where there is no Parquet; raises the error about Parquet if there are none."""
    try:
        return list_files(arguments, _OTHER_KINDS)
    except InputNotFound:
        return list_files(arguments)


def _refusals(files: list[InputFile]) -> tuple[Problem, ...]:
    try:
        refuse_doubles(files)
    except DataError as error:
        return (Problem(*error.args),)
    return ()
