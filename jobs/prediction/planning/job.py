"""A job as it travels to the workers, and the identity by which a rerun is recognised.

The rule: a job holds everything that decides its output, and nothing else does. The fingerprint is a digest of exactly
that: inputs, models, bank, router, settings that change a value, unit size, format.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from lvm_batch.io.output.job_difference import MEANT, TABLES
from lvm_batch.io.output.job_documents import FORMAT, Identity, InputEntry
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.vectors.stored import scale_of
from lvm_batch.jobs.prediction.batching import BATCH_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.dataset.units import DatasetFormat
    from lvm_batch.io.schema import OutputDtype, Pad
    from lvm_batch.jobs.models.facts import ModelSet
    from lvm_batch.jobs.models.self_check import ExpectedAnswers
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to compute any unit of the job; picklable and small.

    ``cap_rate`` is the fraction of a unit's rows that may be escalated, or ``None`` for no cap. Where ``output_dtype``
    is ``None``, predictions are not written. Each row gets ``n_neighbours`` of the bank. ``threads`` is the number of
    each worker's threads, or ``None`` for its share of the machine. A worker must give the ``expected`` answers before
    it gets work, and must have the ``release`` of this package. ``sample_rate`` is the share of rows that workers
    sample for the history; it changes nothing in the output.
    """

    fingerprint: str
    output: str
    dataset_format: DatasetFormat
    pad: Pad | None
    models: ModelSet
    cap_rate: float | None
    shadow_rate: float
    output_dtype: OutputDtype | None
    threads: int | None
    n_neighbours: int = 0
    expected: ExpectedAnswers | None = None
    release: str = field(default_factory=lambda: version("lvm-batch"))
    sample_rate: float = 0.0

    @property
    def job_id(self) -> str:
        """A short name of the job: the first 12 digits of its fingerprint."""
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
            **self._router,
            **self._choice,
            **self._stored,
        }

    @property
    def _router(self) -> dict[str, str]:
        """The router, for the metadata of files: nothing without one."""
        router = self.models.router
        return {} if router is None else {"lvm_batch.router": json.dumps(asdict(router))}

    @property
    def _choice(self) -> dict[str, str]:
        """What the files lack by choice, for their metadata: nothing where everything is written."""
        choice = self.dataset_format.choice
        chosen = {
            "only": choice.only,
            "dropped": choice.dropped,
            "prediction": None if self.output_dtype else False,
        }
        told = {name: value for name, value in chosen.items() if value not in ((), None)}
        return {"lvm_batch.choice": json.dumps(told)} if told else {}

    @property
    def _stored(self) -> dict[str, str]:
        """How predictions are stored, for the metadata of files: nothing where they are floats."""
        dtype, dim = self.output_dtype, self.dataset_format.shape.dim
        scale = None if dtype is None else scale_of(dtype, dim)
        stored = {"dtype": dtype, "dim": dim, "scale": scale}
        return {} if scale is None else {"lvm_batch.prediction": json.dumps(stored)}


def identity(
    settings: RunSettings,
    models: ModelSet,
    *,
    inputs: Iterable[InputFile],
    dataset: DatasetFormat,
    rows: Mapping[str, int] | None = None,
    tables: Mapping[str, int] | None = None,
) -> Identity:
    """Return everything that decides the output of a job.

    ``rows`` has the number of rows that are read of each file, by its path, that is not read to its end, and ``tables``
    the version of each table that is read.
    """
    rows = rows or {}
    return Identity(
        FORMAT,
        {file.name: _input(file, dataset, rows.get(file.path)) for file in inputs},
        {
            "models": {
                "amn": models.primary.sha256,
                "gru": models.fallback.sha256 if models.fallback else None,
            },
            "bank": models.bank.digest if models.bank else None,
            **_own_context(models),
            **_bank_files(models, with_ids=settings.neighbours > 0),
            "unit_size": int(settings.unit_size),
            "batch_rows": BATCH_ROWS,
            "cap_rate": cap_rate(settings),
            **_router(models),
            **_unusual_length(dataset),
            **({TABLES: dict(tables)} if tables else {}),
            "settings": settings.output_values(),
        },
    )


def _bank_files(models: ModelSet, *, with_ids: bool) -> dict[str, str | None]:
    """Return the digests of what else of the bank is used: jobs that use nothing else are identified without."""
    bank = models.bank
    keys = {} if bank is None or bank.keys is None else {"bank_keys": bank.keys}
    return ({"bank_ids": bank.ids} if bank and with_ids else {}) | keys


def _own_context(models: ModelSet) -> dict[str, str]:
    """Return how own context vectors count where it matters and is not as it was up to 0.1.0, when all vectors did."""
    own_context = models.own_context
    return {} if models.bank is None or own_context == MEANT["own_context"] else {"own_context": own_context}


def _router(models: ModelSet) -> dict[str, str]:
    """Return the digest of the router, if there is one: jobs without one are identified as before there were any."""
    return {} if models.router is None else {"router": models.router.sha256}


def _unusual_length(dataset: DatasetFormat) -> dict[str, int]:
    """Return the length of contexts where it is not the usual one: jobs were identified without it up to 0.1.0."""
    length = dataset.shape.length
    return {} if length == WindowShape().length else {"context_length": length}


def _input(file: InputFile, dataset: DatasetFormat, rows: int | None) -> InputEntry:
    return InputEntry(file.path, file.size, file.modified_ns, dataset.texts_of_folders(file) or None, rows)


def cap_rate(settings: RunSettings) -> float | None:
    """Return the fraction of a unit's rows that may be escalated, or ``None`` if the policy does not cap."""
    return settings.max_fallback_rate if settings.fallback_policy == "cap" else None


def fingerprint(identity: Identity) -> str:
    """Return the SHA-256 of an identity, as hexadecimal text."""
    canonical = json.dumps(identity.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
