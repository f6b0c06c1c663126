"""The models of a service: found, checked and loaded as a run does it, and warm.

The rule: whatever a run would be refused for is refused here, and no query is the first that a model answers.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.datasets.dataset_format import dataset_format
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.models.check import look_at_models
from lvm_batch.jobs.models.files import name_models
from lvm_batch.jobs.models.fit import check_output_width
from lvm_batch.jobs.models.load import load_cascade
from lvm_batch.jobs.models.named_bank import NamedBank
from lvm_batch.jobs.processes.resources import keep_freed_memory
from lvm_batch.jobs.serving.rows import Answerer, Rows
from lvm_batch.lvm.devices.devices import set_threads

if TYPE_CHECKING:
    from lvm_batch.io.dataset.units import DatasetFormat
    from lvm_batch.io.schema import WindowShape
    from lvm_batch.jobs.models.facts import FoundModels, ModelRef
    from lvm_batch.jobs.settings.serve import ServeSettings
    from lvm_batch.lvm.inference.cascade import Cascade

_QUICK_S = 0.001
"""Seconds that one row may take in the thread that reads requests, which answers nothing else meanwhile."""

_WARM_UPS = 9


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """Models that are warm; ``is_quick`` if the primary model answers a row within a millisecond."""

    answerer: Answerer
    shape: WindowShape
    dataset_format: DatasetFormat
    found: FoundModels
    is_quick: bool
    named_bank: NamedBank

    @property
    def model_names(self) -> tuple[str | None, ...]:
        """The names of the primary model and the fallback: architecture, and the beginning of the SHA-256."""
        models = (self.found.primary, self.found.fallback)
        return tuple(None if model is None else _name(model.ref) for model in models)

    @property
    def as_dict(self) -> dict[str, Any]:
        """The models and the bank, as plain values."""
        amn, gru = self.model_names
        bank = self.found.bank
        described = None if bank is None else {"digest": bank.ref.digest, "n_vectors": bank.n_vectors}
        return {"models": {"amn": amn, "gru": gru}, "bank": described}

    @property
    def notices(self) -> list[str]:
        """What the user should know when the service starts."""
        notices = []
        if self.found.fallback is None:
            notices.append("no fallback model: every row keeps the route amn; its reasons are still given")
        if self.found.bank is None:
            notices.append("low_confidence and low_margin are not evaluated: no --bank is given")
        return notices


def load(settings: ServeSettings) -> LoadedModels:
    """Load the models and the bank of the settings. Raises ``ModelError``, ``DataError`` or, for several problems,
    ``SettingsError``.
    """
    keep_freed_memory()
    set_threads(settings.threads)
    found = look_at_models(name_models(settings))
    if len(found.problems) == 1:
        raise found.problems[0]
    if found.problems or found.primary is None:
        raise SettingsError(*map(Problem.of, found.problems))
    shape = found.primary.shape
    check_output_width(settings.output_dtype, shape.dim)
    cascade = load_cascade(found.as_set(settings))
    took_s = _warm(cascade, shape, max_rows=settings.max_batch)
    gc.collect()
    gc.freeze()  # what has been loaded stays: no collection looks through it
    return LoadedModels(
        Answerer(cascade),
        shape,
        dataset_format(settings, shape),
        found,
        took_s < _QUICK_S,
        NamedBank.of(found.bank.ref.path if found.bank else None),
    )


def _name(model: ModelRef) -> str:
    return f"{model.architecture}@{model.sha256[:12]}"


def _warm(cascade: Cascade, shape: WindowShape, *, max_rows: int) -> float:
    """Run both models and the bank on noise, whatever the thresholds escalate.

    Returns the seconds that the primary model takes for a row.
    """
    some = np.random.default_rng(0).standard_normal((max_rows, shape.length, shape.dim), dtype=np.float32)
    for contexts in (some, some[:1]):
        cascade.judge(cascade.primary(contexts), contexts)
        if cascade.fallback is not None:
            cascade.fallback(contexts)
    one = Rows(some[:1], [None], np.zeros(1), None, np.ones(1, np.bool_))
    return median(_timed_s(Answerer(cascade), one) for _ in range(_WARM_UPS))


def _timed_s(answerer: Answerer, rows: Rows) -> float:
    start = perf_counter()
    answerer.judge(rows)
    return perf_counter() - start
