"""A model that may get a role: found, read and loaded, and which role its architecture is for.

The rule: a candidate is the bytes that were read, known by their digest. This module does not judge it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.storage.locations import read_file
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.models.check import FALLBACK_ARCHITECTURES, PRIMARY_ARCHITECTURES
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.errors import CheckpointError
from lvm_batch.lvm.registry.registry import named_model
from lvm_batch.lvm.registry.roles import name_of

if TYPE_CHECKING:
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint

ROLE_ARCHITECTURES = {"production_model": PRIMARY_ARCHITECTURES, "fallback_model": FALLBACK_ARCHITECTURES}
"""The architectures that a run takes in each role."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model is verified for.

    ``role`` and ``dim`` are None where they follow from the model and the registry. ``data`` names the rows that
    cosines are compared on, at most ``sample_rows`` of them; None compares none. ``tolerance`` is how far the mean
    cosine may fall.
    """

    models_dir: Path
    role: str | None
    dim: int | None
    data: EvaluateSettings | None
    sample_rows: int
    tolerance: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model: ``name`` in the registry, or where else it lies, ``role`` the one it would have.

    ``checkpoint`` is None where the file cannot be loaded, and ``problem`` says why.
    """

    name: str
    path: str
    sha256: str
    role: str | None
    checkpoint: Checkpoint | None
    problem: str = ""


def find_candidate(name: str, asked: Asked) -> Candidate:
    """Read the model that ``name`` means: a name in the registry, a role or a path.

    Raises ``ModelError`` where there is none, ``UsageError`` where the role that is asked for does not take its
    architecture, and ``DataError`` where it cannot be read.
    """
    path = named_model(name, asked.models_dir)
    shown = path if "://" in path else name_of(Path(path), asked.models_dir)
    data = read_file(path)
    try:
        checkpoint = load_checkpoint(data, path)
    except CheckpointError as error:
        return Candidate(shown, path, hashlib.sha256(data).hexdigest(), asked.role, None, error.message)
    return Candidate(shown, path, checkpoint.sha256, _role(checkpoint, asked.role), checkpoint)


def check_promotable(candidate: Candidate, models_dir: Path) -> None:
    """Raise ``UsageError`` unless the candidate lies in the registry, and some role takes its architecture."""
    if Path(candidate.name).name != candidate.name:
        raise UsageError(
            f"{candidate.name} is not in the registry {models_dir}",
            f"copy its folder to {models_dir}/NAME, then promote NAME",
        )
    if candidate.role is None and candidate.checkpoint is not None:
        raise UsageError(
            f"no role takes {candidate.name}, a model of the architecture {candidate.checkpoint.architecture}",
            "; ".join(f"{role} takes {' or '.join(takes)}" for role, takes in ROLE_ARCHITECTURES.items()),
        )


def _role(checkpoint: Checkpoint, role: str | None) -> str | None:
    """Return the role that is asked for, or else the one that takes the architecture; None where none does."""
    architecture = checkpoint.architecture
    if role is None:
        return next((role for role, takes in ROLE_ARCHITECTURES.items() if architecture in takes), None)
    if architecture not in (takes := ROLE_ARCHITECTURES[role]):
        raise UsageError(
            f"{checkpoint.name} is a model of the architecture {architecture}, which {role} does not take",
            f"{role} takes {' or '.join(takes)}",
        )
    return role
