"""The commit record of a unit, and which records answer a job.

The rule: an output name alone does not say whose predictions stand there. A record names the place that its unit was
read from: the input's path, size and time, and the first row. Records of older versions name less, and are compared in
what they name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from lvm_batch.io.output.tally import Tally, as_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.history.row_sample import RowSample
    from lvm_batch.io.output.job_documents import InputEntry, JobDocument, UnitEntry


@dataclass(frozen=True, slots=True)
class UnitPlace:
    """Where the rows of a unit were read; unknown values are ``None``."""

    input: str
    first_row: int | None = None
    input_size: int | None = None
    input_modified_ns: int | None = None

    @classmethod
    def of(cls, unit: Unit) -> Self:
        """Return the place that ``unit`` is read from."""
        return cls(unit.file.path, unit.first_row, unit.file.size, unit.file.modified_ns)

    def to_json(self) -> dict[str, Any]:
        """Return the place's part of a record; those of 0.1.0 have no size and time."""
        values = asdict(self)
        if self.input_size is None:
            del values["input_size"], values["input_modified_ns"]
        return values

    def agrees_with(self, other: UnitPlace) -> bool:
        """Whether both may be the same place; a value that one of them lacks is not compared."""
        return (
            self.input == other.input
            and _agree(self.first_row, other.first_row)
            and _agree(self.input_size, other.input_size)
            and _agree(self.input_modified_ns, other.input_modified_ns)
        )


def _agree(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What is written about a unit when it is committed.

    ``row_groups`` are the first of the input and the one behind the last. ``seconds`` are those that each part of the
    work took, ``worker_peak`` bytes; both are ``None`` of a unit that was adopted. ``sha256`` and ``bytes`` are those
    of the file: empty and 0 in the file's own footer. ``worker`` is the address of the worker, ``sample`` are some of
    the rows for the history; neither is written.
    """

    output: str
    place: UnitPlace
    row_groups: tuple[int, ...]
    rows_in: int
    tally: Tally
    seconds: Mapping[str, float] | None = None
    worker_peak: int | None = None
    sha256: str = ""
    bytes: int = 0
    worker: str = ""
    sample: RowSample | None = field(default=None, compare=False)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a record; raises an error of ``MALFORMED`` if a count is missing or no number."""
        get = values.get
        return cls(
            output=str(values["output"]),
            place=UnitPlace(
                str(values["input"]), get("first_row"), get("input_size"), get("input_modified_ns")
            ),
            row_groups=tuple(get("row_groups", ())),
            rows_in=as_count(values["rows_in"]),
            tally=Tally.from_json(values),
            seconds=get("seconds"),
            worker_peak=get("worker_peak"),
            sha256=get("sha256", ""),
            bytes=as_count(get("bytes", 0)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the record, also for the footer of the unit's file."""
        spent = {"seconds": self.seconds, "worker_peak": self.worker_peak}
        measured = {"sha256": self.sha256, "bytes": self.bytes} if self.sha256 else {}
        return {
            "output": self.output,
            **self.place.to_json(),
            "row_groups": self.row_groups,
            "rows_in": self.rows_in,
            **self.tally.to_json(),
            **{name: value for name, value in spent.items() if value is not None},
            **measured,
        }


def answering(job: JobDocument, records: Mapping[str, CommitRecord]) -> dict[str, CommitRecord]:
    """Return those of ``records`` that answer units of ``job``, by the unit's output, in the job's order."""
    inputs = {file.path: file for file in job.identity.inputs.values()}
    return {
        unit.output: record
        for unit in job.units
        if (record := records.get(unit.output))
        and record.place.agrees_with(_place_in(unit, inputs.get(unit.input)))
    }


def _place_in(unit: UnitEntry, file: InputEntry | None) -> UnitPlace:
    if file is None:
        return UnitPlace(unit.input, unit.first_row)
    return UnitPlace(unit.input, unit.first_row, file.size, file.modified_ns)
