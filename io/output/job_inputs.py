"""Conflicts between the inputs of a job and those that are to be added.

The rule: an input is identified by its path and its name together, and no two inputs of a job write to the same
outputs. A file that the job has under one name would be predicted twice under another; a file that takes over another's
output names would never be predicted.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from lvm_batch.io.dataset.files import real_places, stem_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.io.output.job_documents import InputEntry

    Inputs = Mapping[str, InputEntry]


class InputConflict(NamedTuple):
    """Why an input cannot join a job that has the input ``known``, and what to do about it."""

    known: str
    text: str
    hint: str


def input_conflicts(existing: Inputs, requested: Inputs) -> Iterator[InputConflict]:
    """Yield why inputs of ``requested`` cannot join a job that has those of ``existing``; both map names to inputs."""
    new = {name: file.path for name, file in requested.items() if name not in existing}
    if not new:
        return
    paths = {name: file.path for name, file in existing.items()}
    names_by_place = dict(zip(real_places(paths.values()), paths, strict=True))
    names_by_stem = {_stem(name): name for name in existing}
    for (name, path), place in zip(new.items(), real_places(new.values()), strict=True):
        if known := names_by_place.get(place):
            yield InputConflict(
                known,
                f"it already has {path}, as `{known}`, and would predict it again as `{name}`",
                "name the dataset as the job did, so that every file keeps its name; or choose another --output",
            )
        elif known := names_by_stem.get(_stem(name)):
            text = f"{path} would write to {_stem(name)}-00000.parquet, where the predictions of {paths[known]} belong"
            yield InputConflict(known, text, _rename_hint(known))


def _rename_hint(known: str) -> str:
    return (
        f"rename it; or, if it replaces that file, call it {posixpath.basename(known)} and add --reprocess failed; or "
        "choose another --output"
    )


def _stem(name: str) -> str:
    return posixpath.normpath(stem_of(name))
