"""A job as it travels to the workers, and the identity by which a rerun is known.

The rule: a job holds all that decides what is in its output, and nothing else decides it. The fingerprint is a
digest of exactly that: inputs, models, bank, settings that change a value, unit size, format.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from lvm_batch.io.output.job_documents import FORMAT, Identity, InputEntry, JobDocument, UnitEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.dataset.units import DatasetFormat
    from lvm_batch.io.output.writer import OutputDtype
    from lvm_batch.io.vectors.decoding import Pad
    from lvm_batch.jobs.models.self_check import Expected
    from lvm_batch.jobs.prediction.planning.plan import Prepared
    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.lvm.devices.precision import Precision
    from lvm_batch.lvm.inference.thresholds import Thresholds

BATCH_ROWS = 1024
"""Rows run through the primary model at once, cut from a unit's first row."""

# Settings that change a value in the output. Those of routing are here whole; how many workers there are is not.
_VALUE_SETTINGS = (
    "layout",
    "pad",
    "precision",
    "output_dtype",
    "rename",
    "min_confidence",
    "min_margin",
    "max_context_tokens",
    "high_stakes_lane",
    "shadow_rate",
    "context_column",
    "vector_column",
    "target_column",
    "lane_column",
    "context_tokens_column",
    "tokens_column",
    "article_column",
    "position_column",
)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A checkpoint: where it is, and the SHA-256 of its bytes by which a worker knows that it has the right one."""

    path: str
    sha256: str
    architecture: str


@dataclass(frozen=True, slots=True)
class BankRef:
    """A bank: where it is, and its digest."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class ModelSet:
    """What a worker loads once and keeps: models, bank and thresholds, on one device, in one precision; hashable."""

    primary: ModelRef
    fallback: ModelRef | None
    bank: BankRef | None
    thresholds: Thresholds
    device: str
    precision: Precision
    fallback_device: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to compute any unit of the job; picklable and small.

    ``cap_rate`` is the fraction of a unit's rows that may be escalated, or ``None`` for no cap. ``threads`` is the
    number of threads for a worker's arithmetic, or ``None`` for its share of the machine. ``expected`` is what a worker
    must answer before it gets work, and ``release`` the version of this package that it must have.
    """

    fingerprint: str
    output: str
    dataset_format: DatasetFormat
    pad: Pad | None
    models: ModelSet
    cap_rate: float | None
    shadow_rate: float
    output_dtype: OutputDtype
    threads: int | None
    expected: Expected | None = None
    release: str = field(default_factory=lambda: version("lvm-batch"))

    @property
    def job_id(self) -> str:
        """A name for the job that fits into a line."""
        return self.fingerprint[:12]

    @property
    def footer(self) -> dict[str, str]:
        """Key-value metadata for every file that the job writes."""
        models = {"amn": self.models.primary, "gru": self.models.fallback}
        described = {
            route: {"name": model.path, "architecture": model.architecture, "sha256": model.sha256}
            for route, model in models.items()
            if model is not None
        }
        return {
            "lvm_batch.version": version("lvm-batch"),
            "lvm_batch.job_id": self.job_id,
            "lvm_batch.fingerprint": self.fingerprint,
            "lvm_batch.models": json.dumps(described),
            "lvm_batch.thresholds": json.dumps(asdict(self.models.thresholds)),
        }


def identity(
    settings: RunSettings, models: ModelSet, *, inputs: Iterable[InputFile], understood: DatasetFormat
) -> Identity:
    """Return what makes this job this job."""
    values = settings.model_dump(mode="json")
    return Identity(
        FORMAT,
        {file.name: _input(file, understood) for file in inputs},
        {
            "models": {
                "amn": models.primary.sha256,
                "gru": models.fallback.sha256 if models.fallback else None,
            },
            "bank": models.bank.digest if models.bank else None,
            "unit_size": int(settings.unit_size),
            "batch_rows": BATCH_ROWS,
            "cap_rate": cap_rate(settings),
            "settings": {name: values[name] for name in _VALUE_SETTINGS},
        },
    )


def _input(file: InputFile, understood: DatasetFormat) -> InputEntry:
    return InputEntry(file.path, file.size, file.modified_ns, understood.told(file) or None)


def job_document(prepared: Prepared, settings: RunSettings) -> JobDocument:
    """Return what ``job.json`` says of the job: its identity, and what people and readers ask of it."""
    job = prepared.job
    return JobDocument(
        version=version("lvm-batch"),
        job_id=job.job_id,
        fingerprint=job.fingerprint,
        identity=prepared.identity,
        unreadable=tuple(str(error.path) for error in prepared.unreadable),
        settings=settings.told(),
        models=asdict(job.models),
        rows=prepared.n_rows,
        units=tuple(
            UnitEntry(unit.output, unit.file.path, unit.first_row, unit.n_rows) for unit in prepared.units
        ),
    )


def cap_rate(settings: RunSettings) -> float | None:
    """The fraction of a unit's rows that may be escalated, or ``None`` where the policy does not cap."""
    return settings.max_fallback_rate if settings.fallback_policy == "cap" else None


def fingerprint(identity: Identity) -> str:
    """Return the SHA-256 of an identity, as hexadecimal text."""
    canonical = json.dumps(identity.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
