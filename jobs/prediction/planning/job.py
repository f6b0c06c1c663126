"""A job as it travels to the workers, and the identity by which a rerun is known.

The rule: a job holds all that decides what is in its output, and nothing else decides it. The fingerprint is a
digest of exactly that: inputs, models, bank, settings that change a value, unit size, format.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.prediction.batching import BATCH_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.dataset.units import DatasetFormat
    from lvm_batch.io.schema import OutputDtype, Pad
    from lvm_batch.jobs.models.facts import ModelSet
    from lvm_batch.jobs.models.self_check import Expected
    from lvm_batch.jobs.prediction.planning.plan import Prepared
    from lvm_batch.jobs.settings.run import RunSettings

FORMAT = 1
"""Version of the output and of the commit protocol; a job of another version is another job."""


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
) -> dict[str, Any]:
    """Return what makes this job this job, as plain JSON values."""
    return {
        "format": FORMAT,
        "inputs": {file.name: _input(file, understood.texts_of_folders(file)) for file in inputs},
        "models": {"amn": models.primary.sha256, "gru": models.fallback.sha256 if models.fallback else None},
        "bank": models.bank.digest if models.bank else None,
        "unit_size": int(settings.unit_size),
        "batch_rows": BATCH_ROWS,
        "cap_rate": cap_rate(settings),
        "settings": settings.output_values(),
    }


def _input(file: InputFile, told: Mapping[str, str | None]) -> dict[str, Any]:
    """Return what makes an input this input. Releases up to 0.1.0 did not read the columns that folders tell."""
    values = {"path": file.path, "size": file.size, "modified_ns": file.modified_ns}
    return values | ({"folders": dict(told)} if told else {})


def job_document(prepared: Prepared, settings: RunSettings) -> dict[str, Any]:
    """Return what ``job.json`` tells of the job: its identity, and what people and readers ask of it."""
    job = prepared.job
    return {
        "version": version("lvm-batch"),
        "job_id": job.job_id,
        "fingerprint": job.fingerprint,
        "identity": prepared.identity,
        "unreadable": [error.path for error in prepared.unreadable],
        "settings": settings.as_dict(),
        "models": asdict(job.models),
        "rows": prepared.n_rows,
        "units": [
            {"output": unit.output, "input": unit.file.path, "first_row": unit.first_row, "rows": unit.n_rows}
            for unit in prepared.units
        ],
    }


def cap_rate(settings: RunSettings) -> float | None:
    """The fraction of a unit's rows that may be escalated, or ``None`` where the policy does not cap."""
    return settings.max_fallback_rate if settings.fallback_policy == "cap" else None


def fingerprint(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an identity, as hexadecimal text."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
