"""The documents of a job: the request, its growths, how far it was accepted, and its success.

The rule: each is declared here, once, with its JSON form. ``from_json`` ignores keys of newer versions and raises an
error of ``MALFORMED`` where a value is missing or of another type.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMAT = 1
"""Version of the output and of the commit protocol: the one written here, and the newest that is understood."""


@dataclass(frozen=True, slots=True)
class InputEntry:
    """A file of the dataset as the job knows it.

    ``folders`` are columns in the names of its folders; ``modified_ns`` is ``None`` if the store does not
    know it. ``rows`` is the number of rows that the job reads, ``None`` for all.
    """

    path: str
    size: int
    modified_ns: int | None = None
    folders: dict[str, str | None] | None = None
    rows: int | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read an input of a job."""
        get = values.get
        return cls(values["path"], values["size"], get("modified_ns"), get("folders"), get("rows"))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the input; up to 0.1.0 there were neither ``folders`` nor ``rows``."""
        values = {"path": self.path, "size": self.size, "modified_ns": self.modified_ns}
        later = {"folders": self.folders or None, "rows": self.rows}
        return values | {name: value for name, value in later.items() if value is not None}


@dataclass(frozen=True, slots=True)
class UnitEntry:
    """A unit of a job: its output below the folder, the path of its input, its first row there, and its rows."""

    output: str
    input: str
    first_row: int | None
    rows: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a unit of a job."""
        return cls(values["output"], values["input"], values.get("first_row"), values["rows"])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the unit."""
        return {"output": self.output, "input": self.input, "first_row": self.first_row, "rows": self.rows}


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a job this job: its format, its inputs by name, and whatever else decides its output, plain JSON.

    ``format`` is ``None`` where a damaged document has none.
    """

    format: int | None
    inputs: dict[str, InputEntry]
    values: dict[str, Any]

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Read an identity; of a newer format the inputs are not understood."""
        others = dict(values) if isinstance(values, dict) else {}
        written, inputs = others.pop("format", None), others.pop("inputs", {})
        known = written if isinstance(written, int) else None
        is_newer = known is not None and known > FORMAT
        return cls(known, {} if is_newer else _inputs(inputs), others)

    @property
    def limit(self) -> int | None:
        """The number of rows beyond which the job reads none; ``None`` for no limit."""
        return self._settings.get("limit")

    @property
    def writes_prediction(self) -> bool:
        """Whether the output has the column of predictions."""
        return not self._settings.get("no_prediction")

    @property
    def writes_neighbours(self) -> bool:
        """Whether the output has the columns of neighbours."""
        return bool(self._settings.get("neighbours"))

    @property
    def _settings(self) -> Mapping[str, Any]:
        """The settings that change the output; none where a damaged document has something else."""
        values = self.values.get("settings")
        return values if isinstance(values, dict) else {}

    @property
    def is_newer(self) -> bool:
        """Whether a later version wrote it, in a format that is not understood here."""
        return self.format is not None and self.format > FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the identity."""
        return {"format": self.format, "inputs": _inputs_json(self.inputs), **self.values}


@dataclass(frozen=True, slots=True)
class JobDocument:
    """``job.json``: the request, and its version; ``settings`` and ``models`` are plain JSON for people."""

    version: str
    job_id: str
    fingerprint: str
    identity: Identity
    unreadable: tuple[str, ...]
    settings: Mapping[str, Any]
    models: Mapping[str, Any]
    rows: int
    units: tuple[UnitEntry, ...]

    @property
    def outputs(self) -> list[str]:
        """The outputs of its units, in order."""
        return list(dict.fromkeys(unit.output for unit in self.units))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a job; of a newer format only its names are understood."""
        identity = Identity.from_json(values["identity"])
        return cls(
            version=str(values.get("version", "")),
            job_id=str(values["job_id"]),
            fingerprint=str(values["fingerprint"]),
            identity=identity,
            unreadable=tuple(values.get("unreadable", ())),
            settings=values["settings"],
            models=values["models"],
            rows=values["rows"],
            units=() if identity.is_newer else _units(values["units"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the job."""
        return {
            "version": self.version,
            "job_id": self.job_id,
            "fingerprint": self.fingerprint,
            "identity": self.identity.to_json(),
            "unreadable": self.unreadable,
            "settings": self.settings,
            "models": self.models,
            "rows": self.rows,
            "units": [unit.to_json() for unit in self.units],
        }


@dataclass(frozen=True, slots=True)
class Growth:
    """``grown/<n>.json``: inputs that are new or changed since the job began, their units, and those left out."""

    version: str
    inputs: dict[str, InputEntry]
    units: tuple[UnitEntry, ...]
    unreadable: tuple[str, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a growth."""
        version, units = str(values.get("version", "")), _units(values["units"])
        return cls(version, _inputs(values["inputs"]), units, tuple(values["unreadable"]))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the growth."""
        return {
            "version": self.version,
            "inputs": _inputs_json(self.inputs),
            "units": [unit.to_json() for unit in self.units],
            "unreadable": self.unreadable,
        }


@dataclass(frozen=True, slots=True)
class Acceptance:
    """``accepted.json``: how many growths the job had when it last succeeded."""

    growths: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read an acceptance."""
        return cls(values["growths"])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the acceptance."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Success:
    """``_SUCCESS``: which job it is, and how many units and rows it has in all.

    ``limit`` is the number of rows beyond which it reads none, ``None`` for no limit.
    """

    job_id: str
    fingerprint: str
    units: int
    rows_in: int
    rows_out: int
    rows_by_route: Mapping[str, int]
    rows_by_status: Mapping[str, int]
    limit: int | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a success."""
        counts = {name: values[name] for name in cls.__slots__ if name != "limit"}
        return cls(**counts, limit=values.get("limit"))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the success, with a limit only where there is one."""
        values = asdict(self)
        if self.limit is None:
            del values["limit"]
        return values


def _inputs(values: Mapping[str, Any]) -> dict[str, InputEntry]:
    return {name: InputEntry.from_json(file) for name, file in values.items()}


def _inputs_json(inputs: Mapping[str, InputEntry]) -> dict[str, Any]:
    return {name: file.to_json() for name, file in inputs.items()}


def _units(values: Iterable[Mapping[str, Any]]) -> tuple[UnitEntry, ...]:
    return tuple(map(UnitEntry.from_json, values))
