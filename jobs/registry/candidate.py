"""A model that may get a role: found, read and loaded.

The rule: a candidate is the bytes that were read, identified by their digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.storage.locations import read_file
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.models.facts import FALLBACK_ARCHITECTURES, PRIMARY_ARCHITECTURES
from lvm_batch.jobs.models.seen_rows import MAX_SEEN
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.errors import CheckpointError
from lvm_batch.lvm.registry.registry import named_model
from lvm_batch.lvm.registry.roles import name_of

if TYPE_CHECKING:
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint

ROLE_ARCHITECTURES = {"production_model": PRIMARY_ARCHITECTURES, "fallback_model": FALLBACK_ARCHITECTURES}
"""The architectures that a run accepts in each role."""


@dataclass(frozen=True, slots=True)
class RetrievalGates:
    """The least that retrieval from a bank must reach, each from 0 to 1; None is no gate."""

    min_recall_at_5: float | None = None
    min_mrr: float | None = None
    min_contain_at_50: float | None = None

    @property
    def are_set(self) -> bool:
        """Whether there is any gate."""
        return self != RetrievalGates()


@dataclass(frozen=True, slots=True)
class VerificationRequest:
    """What to verify a model for.

    If ``role`` and ``dim`` are None, they follow from the model and the registry. Cosines are compared on at most
    ``sample_rows`` rows of ``data``; None compares none. ``tolerance`` is how much lower the mean cosine may be,
    ``max_seen`` the share of these rows that the model may have been trained on. ``gates`` are judged by ``bank``.
    """

    models_dir: Path
    role: str | None
    dim: int | None
    data: EvaluateSettings | None
    sample_rows: int
    tolerance: float
    max_seen: float = MAX_SEEN
    bank: str | None = None
    gates: RetrievalGates = RetrievalGates()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model: its ``name`` in the registry or its path, and the ``role`` that it would get.

    If the file cannot be loaded, ``checkpoint`` is None and ``problem`` says why.
    """

    name: str
    path: str
    sha256: str
    role: str | None
    checkpoint: Checkpoint | None
    problem: str = ""


def find_candidate(name: str, request: VerificationRequest) -> Candidate:
    """Read the model that ``name`` means: a name in the registry, a role or a path.

    Raises ``ModelError`` if there is none, ``UsageError`` if the requested role does not accept its architecture, and
    ``DataError`` if the file cannot be read.
    """
    path = named_model(name, request.models_dir)
    shown = path if "://" in path else name_of(Path(path), request.models_dir)
    data = read_file(path)
    try:
        checkpoint = load_checkpoint(data, path)
    except CheckpointError as error:
        return Candidate(shown, path, hashlib.sha256(data).hexdigest(), request.role, None, error.message)
    return Candidate(shown, path, checkpoint.sha256, _role(checkpoint, request.role), checkpoint)


def check_promotable(candidate: Candidate, models_dir: Path) -> None:
    """Raise ``UsageError`` unless the candidate is in the registry and some role accepts its architecture."""
    if Path(candidate.name).name != candidate.name:
        raise UsageError(
            f"{candidate.name} is not in the registry {models_dir}",
            f"copy its folder to {models_dir}/NAME, or its file to {models_dir}/NAME.pt, then promote NAME",
        )
    if candidate.role is None and candidate.checkpoint is not None:
        raise UsageError(
            f"no role takes {candidate.name}, a model of the architecture {candidate.checkpoint.architecture}",
            "; ".join(f"{role} takes {' or '.join(takes)}" for role, takes in ROLE_ARCHITECTURES.items()),
        )


def _role(checkpoint: Checkpoint, role: str | None) -> str | None:
    """Return the requested role, or else the one that accepts the architecture; None if none does."""
    architecture = checkpoint.architecture
    if role is None:
        return next((role for role, takes in ROLE_ARCHITECTURES.items() if architecture in takes), None)
    if architecture not in (takes := ROLE_ARCHITECTURES[role]):
        raise UsageError(
            f"{checkpoint.name} is a model of the architecture {architecture}, which {role} does not take",
            f"{role} takes {' or '.join(takes)}",
        )
    return role
