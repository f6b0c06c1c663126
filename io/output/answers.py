"""Which commit records answer a job: a record counts for the rows of its input as the job knows it.

The rule: an output name alone does not say whose predictions stand there. A record tells the place that its unit was
read from: the input's path, size and time, and the first row. Records of older versions tell less, and are compared in
what they tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.io.dataset.units import Unit

    Place = Mapping[str, Any]

Record = dict[str, Any]
"""What is written about a unit when it is committed."""


def place_of(unit: Unit) -> dict[str, Any]:
    """Return what the record of ``unit`` tells of where its rows were read."""
    file = unit.file
    return {
        "input": file.path,
        "first_row": unit.first_row,
        "input_size": file.size,
        "input_modified_ns": file.modified_ns,
    }


def told_place(record: Record) -> dict[str, Any]:
    """Return what ``record`` tells of where its rows were read."""
    return {key: record.get(key) for key in ("input", "first_row", "input_size", "input_modified_ns")}


def answers(record: Record, place: Place) -> bool:
    """Whether ``record`` is of the rows at ``place``; what one of the two does not tell is no difference."""
    return all(value is None or record.get(key, value) == value for key, value in place.items())


def answering(job: Mapping[str, Any], records: Mapping[str, Record]) -> dict[str, Record]:
    """Return those of ``records`` that answer units of ``job``, by the unit's output, in the job's order."""
    inputs = {file["path"]: file for file in job["identity"]["inputs"].values()}
    return {
        unit["output"]: record
        for unit in job["units"]
        if (record := records.get(unit["output"])) and answers(record, _place_in(unit, inputs))
    }


def _place_in(unit: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Any]]) -> Place:
    file = inputs.get(unit["input"], {})
    return {
        "input": unit["input"],
        "first_row": unit.get("first_row"),
        "input_size": file.get("size"),
        "input_modified_ns": file.get("modified_ns"),
    }
