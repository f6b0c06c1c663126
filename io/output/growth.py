"""How a job grows: inputs that came after it began, or that have changed since, with the units they make.

The rule: what was written about a job is never written again; each growth is a document of its own, and the job is all
of them together, the latest that names an input before the others. This module does not know where they are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Document = Mapping[str, Any]


def joined(job: Document, growths: Sequence[Document]) -> dict[str, Any]:
    """Return ``job`` as it is after its ``growths``: inputs by name, units, rows, unreadable files."""
    if not growths:
        return dict(job)
    inputs = job["identity"]["inputs"] | {
        name: file for growth in growths for name, file in growth["inputs"].items()
    }
    latest = {
        file["path"]: number for number, growth in enumerate(growths, 1) for file in growth["inputs"].values()
    }
    documents = list(enumerate([job, *growths]))
    units = [
        unit
        for number, document in documents
        for unit in document["units"]
        if latest.get(unit["input"], 0) == number
    ]
    unreadable = [
        path
        for number, document in documents
        for path in document["unreadable"]
        if latest.get(path, 0) == number
    ]
    return {
        **job,
        "identity": {**job["identity"], "inputs": dict(sorted(inputs.items()))},
        "units": units,
        "unreadable": unreadable,
        "rows": sum(unit["rows"] for unit in units),
    }


def growth(standing: Document, asked: Document) -> dict[str, Any] | None:
    """Return what ``asked`` adds to ``standing``; ``None`` where all its inputs are there as they are."""
    before = standing["identity"]["inputs"]
    mended = set(standing.get("unreadable", ())).difference(asked.get("unreadable", ()))
    inputs = {
        name: file
        for name, file in asked["identity"]["inputs"].items()
        if before.get(name) != file or file["path"] in mended
    }
    if not inputs:
        return None
    paths = {file["path"] for file in inputs.values()}
    return {
        "version": asked["version"],
        "inputs": inputs,
        "units": [unit for unit in asked["units"] if unit["input"] in paths],
        "unreadable": [path for path in asked["unreadable"] if path in paths],
    }
