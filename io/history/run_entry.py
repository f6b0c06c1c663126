"""A run's entry in the history: its fields, and the columns they become.

The rule: a field is declared once, its column follows from its type.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from lvm_batch.io.history.row_sample import RowSample


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over ``n`` rows and their standard deviation (of the sample, n - 1); ``None`` where not known."""

    mean: float | None
    n: int
    std: float | None = None


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that a run used: its path, the SHA-256 of its bytes, and its architecture."""

    path: str
    sha256: str
    architecture: str


@dataclass(frozen=True, slots=True)
class ThresholdsEntry:
    """The thresholds that a run routed by."""

    min_confidence: float
    min_margin: float
    max_context_tokens: float
    high_stakes_lanes: tuple[str, ...]
    max_fallback_rate: float


@dataclass(frozen=True, slots=True)
class RunEntry:
    """What one run did. Counts and figures are of the rows that this run computed, not of earlier ones.

    ``started`` and ``ended`` are UTC. ``state`` is ``done``, or the kind of the error that the run ended with.
    ``shape`` is equal for runs whose speed can be compared. ``rows_by_route``, ``rows_by_status`` and
    ``rows_by_reason`` count rows by name. Bytes are those of one worker at its peak, measured and as projected by the
    plan. ``query_p95_ms``, ``query_mean_ms`` and ``query_memory_bytes`` are the primary model's for single queries, on
    ``query_processor``.
    ``input_norm`` is of vectors sampled from the input, before anything is done to them, ``input_centroid`` their mean
    vector. ``input_seen`` is the share of sampled rows that the primary model was trained on, ``None`` if its
    checkpoint does not tell. ``row_sample`` are rows spread over all that the run computed.
    """

    version: str
    started: datetime
    ended: datetime
    state: str
    job_id: str
    fingerprint: str
    shape: str
    dataset: tuple[str, ...]
    output: str
    report: str
    primary: ModelEntry
    fallback: ModelEntry | None
    bank: str | None
    thresholds: ThresholdsEntry
    units: int
    failed_units: int
    rows_in: int
    rows_out: int
    rows_by_route: dict[str, int]
    rows_by_status: dict[str, int]
    rows_by_reason: dict[str, int]
    fallback_rate: float | None
    cosine: Figure
    cosine_in_dist: Figure
    cosine_ood: Figure
    cosine_amn: Figure
    cosine_gru: Figure
    escalation_gain: Figure
    shadow_gain: Figure
    wall_s: float
    rows_per_s: float | None
    workers: int
    peak_bytes: int | None = None
    projected_bytes: int | None = None
    query_p95_ms: float | None = None
    input_norm: Figure | None = None
    input_centroid: tuple[float, ...] | None = None
    input_seen: Figure | None = None
    query_mean_ms: float | None = None
    query_processor: str | None = None
    row_sample: RowSample | None = None
    query_memory_bytes: int | None = None


YOUNGER = ("input_seen", "query_mean_ms", "query_processor", "row_sample", "query_memory_bytes")
"""Columns that files of earlier versions lack: nothing is known there."""

_MAY_LACK = ("mean", "std")  # of a figure

_FIGURE = pa.struct([("mean", pa.float64()), ("n", pa.int64()), ("std", pa.float64())])
_MODEL = pa.struct([("path", pa.string()), ("sha256", pa.string()), ("architecture", pa.string())])
_THRESHOLDS = pa.struct(
    [
        ("min_confidence", pa.float64()),
        ("min_margin", pa.float64()),
        ("max_context_tokens", pa.float64()),
        ("high_stakes_lanes", pa.list_(pa.string())),
        ("max_fallback_rate", pa.float64()),
    ]
)
_ROW_SAMPLE = pa.struct(
    [
        ("form", pa.int64()),
        ("n", pa.int64()),
        *((name, pa.binary()) for name in ("groups", "inputs", "predictions", "confidence", "reasons")),
        ("reason_names", pa.string()),
    ]
)
_TYPES = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "datetime": pa.timestamp("us", tz="UTC"),
    "tuple[str, ...]": pa.list_(pa.string()),
    "tuple[float, ...]": pa.list_(pa.float64()),
    "dict[str, int]": pa.map_(pa.string(), pa.int64()),
    "Figure": _FIGURE,
    "ModelEntry": _MODEL,
    "ThresholdsEntry": _THRESHOLDS,
    "RowSample": _ROW_SAMPLE,
}
_NESTED = {"Figure": Figure, "ModelEntry": ModelEntry, "RowSample": RowSample}


def _field(name: str, annotation: str) -> pa.Field:
    kind, _, none = annotation.partition(" | ")
    return pa.field(name, _TYPES[kind], nullable=bool(none))


SCHEMA = pa.schema([_field(field.name, str(field.type)) for field in fields(RunEntry)])
"""Columns of a history's files, after the fields of :class:`RunEntry`."""


def run_of(row: dict[str, Any]) -> RunEntry:
    """Return the run in a row of a history's file; raises ``ValueError`` where a value makes no sense."""
    for name, value in row.items():
        _check(name, value)
    thresholds = row["thresholds"]
    lanes = tuple(thresholds["high_stakes_lanes"] or ())
    nested: dict[str, Any] = {
        "thresholds": ThresholdsEntry(**thresholds | {"high_stakes_lanes": lanes}),
        "dataset": tuple(row["dataset"]),
        "input_centroid": None if row["input_centroid"] is None else tuple(row["input_centroid"]),
    }
    for field in fields(RunEntry):
        value, kind = row[field.name], str(field.type).partition(" | ")[0]
        if kind == "datetime":
            nested[field.name] = value.astimezone(UTC)
        elif kind == "dict[str, int]":
            nested[field.name] = dict(value)
        elif kind in _NESTED and value is not None:
            nested[field.name] = _NESTED[kind](**value)
    return RunEntry(**row | nested)


def _check(name: str, value: object) -> None:
    """Refuse what no run writes: numbers that are none, negative counts, holes within a value."""
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and value < 0):
        raise ValueError(f"`{name}` cannot be {value}")
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, (list, tuple))
        else ()
    )
    for key, part in parts:
        if part is None and key not in _MAY_LACK:
            raise ValueError(f"`{name}` has a hole")
        _check(name, part)


def row_of(run: RunEntry) -> dict[str, Any]:
    """Return a run as a row of a history's file."""
    maps = {name: list(getattr(run, name).items()) for name in SCHEMA.names if _is_map(name)}
    return asdict(run) | maps


def _is_map(name: str) -> bool:
    return bool(pa.types.is_map(SCHEMA.field(name).type))
