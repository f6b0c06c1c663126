"""What a job's settings say of models and bank, known before it starts.

The rule: the process that drives a run holds facts, not models: a warm process that has loaded torch anyway looks at
the files, so that the driver loads neither. This module does not know how a model is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.jobs.prediction.planning.job import BankRef, ModelRef, ModelSet
from lvm_batch.jobs.prediction.planning.memory import Fixed
from lvm_batch.jobs.processes.forkserver import in_forked_process

if TYPE_CHECKING:
    from lvm_batch.io.errors import DataError
    from lvm_batch.jobs.models.self_check import Expected
    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.lvm.devices.found import FoundDevice
    from lvm_batch.lvm.errors import ModelError

_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A checkpoint that can be loaded, the width of its vectors, and how many parameters it has."""

    ref: ModelRef
    dim: int
    n_parameters: int


@dataclass(frozen=True, slots=True)
class BankFacts:
    """A bank that can be searched; ``wants_index`` where it has none and would be faster with one."""

    ref: BankRef
    n_vectors: int
    n_bytes: int
    index_bytes: int
    wants_index: bool


@dataclass(frozen=True, slots=True)
class FoundModels:
    """What the settings lead to, and everything that is wrong with it; without problems there is a primary model.

    ``expected`` is what the models answer to the rows of the self-check, where that was asked for.
    """

    primary: ModelFacts | None
    fallback: ModelFacts | None
    bank: BankFacts | None
    problems: tuple[DataError | ModelError, ...]
    device: FoundDevice | None = None
    expected: Expected | None = None

    @property
    def fixed(self) -> Fixed:
        """What each worker holds of them."""
        models = [model for model in (self.primary, self.fallback) if model]
        weights = sum(model.n_parameters for model in models) * _FLOAT32_BYTES
        mapped, index = (self.bank.n_bytes, self.bank.index_bytes) if self.bank else (0, 0)
        return Fixed(weights, self.fallback is not None, mapped, index)

    def as_set(self, settings: RunSettings) -> ModelSet:
        """Return what a worker loads."""
        assert self.primary is not None  # noqa: S101 - its absence has been raised by now
        return ModelSet(
            primary=self.primary.ref,
            fallback=self.fallback.ref if self.fallback else None,
            bank=self.bank.ref if self.bank else None,
            thresholds=settings.thresholds,
            device=settings.device,
            precision=settings.precision,
            fallback_device=settings.fallback_device,
        )


def find_models(settings: RunSettings) -> FoundModels:
    """Look at the models and the bank that the settings name, where torch is loaded already, or else here."""
    return in_forked_process(_look, settings)


def _look(settings: RunSettings) -> FoundModels:
    from lvm_batch.io.dataset.columns import WindowShape
    from lvm_batch.jobs.models.load import look_at_models

    return look_at_models(settings, answers_to=WindowShape().length)
