"""Facts about the models and the bank of a job.

The rule: facts need neither torch nor a loaded bank, so that the process that drives a run can hold them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from lvm_batch.io.bank.ids import NamedBy
    from lvm_batch.io.schema import WindowShape
    from lvm_batch.jobs.checks import CheckError
    from lvm_batch.jobs.models.self_check import ExpectedAnswers
    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.lvm.devices.facts import DeviceFacts
    from lvm_batch.lvm.devices.precision import Precision
    from lvm_batch.lvm.inference.thresholds import OwnContext, Thresholds

PRIMARY_ARCHITECTURES = ("amn", "amn-mixer")
FALLBACK_ARCHITECTURES = ("gru",)
"""The architectures that a run takes as its primary model and as its fallback."""

_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A checkpoint: its path, and the SHA-256 of its bytes, by which a worker recognises it."""

    path: str
    sha256: str
    architecture: str


@dataclass(frozen=True, slots=True)
class BankRef:
    """A bank: its path, its digest, and that of its ids and of its articles and positions, ``None`` if not needed."""

    path: str
    digest: str
    ids: str | None = None
    keys: str | None = None


@dataclass(frozen=True, slots=True)
class RouterRef:
    """A fitted router: its path, and the SHA-256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelSet:
    """What a worker loads once and keeps: models, bank, router, thresholds, device and precision; hashable."""

    primary: ModelRef
    fallback: ModelRef | None
    bank: BankRef | None
    thresholds: Thresholds
    device: str
    precision: Precision
    fallback_device: str | None = None
    own_context: OwnContext = "keep"
    router: RouterRef | None = None


@dataclass(frozen=True, slots=True)
class NamedModels:
    """The models, bank and router that settings name, by path or URL, and where and how they will run; plain values.

    ``runs_elsewhere`` says that workers have devices of their own. Rows get ``n_neighbours`` of the bank.
    """

    primary: str
    fallback: str | None
    bank: str | None
    device: str
    fallback_device: str | None
    precision: Precision
    runs_elsewhere: bool
    n_neighbours: int = 0
    router: str | None = None


@dataclass(frozen=True, slots=True)
class FixedMemory:
    """Memory that a worker needs whatever it reads, in bytes: the weights of both models, the bank, its index and ids.

    ``bank`` is mapped into memory: workers share it, and the system takes its pages back if memory runs short.
    """

    models: int
    has_fallback: bool
    bank: int = 0
    index: int = 0
    ids: int = 0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A checkpoint that can be loaded, the shape of its contexts, and its number of parameters."""

    ref: ModelRef
    shape: WindowShape
    n_parameters: int

    @property
    def dim(self) -> int:
        """The components of its vectors."""
        return self.shape.dim


@dataclass(frozen=True, slots=True)
class BankFacts:
    """A bank that can be searched; ``wants_index`` says that it has no index and would be faster with one.

    ``id_bytes`` are those of its ids, ``id_type`` is their Arrow type and ``named_by`` says what they are, if they are
    needed. ``key_bytes`` are those of its articles and positions, 0 if it has none.
    """

    ref: BankRef
    n_vectors: int
    n_bytes: int
    index_bytes: int
    wants_index: bool
    id_bytes: int = 0
    id_type: pa.DataType | None = None
    named_by: NamedBy | None = None
    key_bytes: int = 0

    def ref_with(self, *, keys: bool) -> BankRef:
        """Return the bank as workers load it, with articles and positions or without."""
        return self.ref if keys else replace(self.ref, keys=None)


@dataclass(frozen=True, slots=True)
class FoundModels:
    """The models, the bank and the router that settings name, and all problems with them.

    ``primary`` is there if there are no problems. ``expected`` holds the models' answers to the self-check rows, if
    they were requested.
    """

    primary: ModelFacts | None
    fallback: ModelFacts | None
    bank: BankFacts | None
    problems: tuple[CheckError, ...]
    device: DeviceFacts | None = None
    expected: ExpectedAnswers | None = None
    router: RouterRef | None = None

    @property
    def shape(self) -> WindowShape | None:
        """The shape of the contexts that the primary model takes, ``None`` without one."""
        return self.primary.shape if self.primary else None

    @property
    def fixed_memory(self) -> FixedMemory:
        """The memory that they take in each worker."""
        models = [model for model in (self.primary, self.fallback) if model]
        weights = sum(model.n_parameters for model in models) * _FLOAT32_BYTES
        mapped, index = (self.bank.n_bytes, self.bank.index_bytes) if self.bank else (0, 0)
        ids = self.bank.id_bytes + self.bank.key_bytes if self.bank else 0
        return FixedMemory(weights, self.fallback is not None, mapped, index, ids)

    def as_set(self, settings: RunSettings, *, knows_places: bool = False) -> ModelSet:
        """Return the models, the bank, the router and the settings that a worker loads.

        ``knows_places`` says that rows tell where their contexts stand: the bank's vectors from there are left out.
        """
        assert self.primary is not None  # noqa: S101 - its absence has been raised by now
        uses_keys = knows_places and settings.own_context == "drop"
        return ModelSet(
            primary=self.primary.ref,
            fallback=self.fallback.ref if self.fallback else None,
            bank=self.bank.ref_with(keys=uses_keys) if self.bank else None,
            thresholds=settings.thresholds,
            device=settings.device,
            precision=settings.precision,
            fallback_device=settings.fallback_device,
            own_context=settings.own_context,
            router=self.router,
        )
