"""A model verified for its role.

The rule: what a model is compared with is who has the role at that moment; who cannot be loaded is said, and stands in
nobody's way. This module changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.dataset.columns import WindowShape
from lvm_batch.io.errors import DataError
from lvm_batch.io.storage.locations import read_file
from lvm_batch.jobs.errors import GateFailed
from lvm_batch.jobs.registry.checks import (
    Check,
    Cosines,
    check_cosine,
    check_outputs,
    compare_cosines,
    random_contexts,
)
from lvm_batch.jobs.registry.held_out_sample import held_out_sample
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.registry.registry import ROLES, resolve_model
from lvm_batch.lvm.registry.roles import name_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.jobs.registry.candidate import Asked, Candidate
    from lvm_batch.jobs.registry.held_out_sample import HeldOutSample
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint

    Floats = NDArray[np.float32]

_REAL_CONTEXTS = 256
"""How many contexts of the data are looked at beside the random ones."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of a candidate; ``notes`` say what could not be compared, and why."""

    candidate: Candidate
    checks: tuple[Check, ...]
    cosines: Cosines | None = None
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> GateFailed | None:
        """Why the model may not have the role; None where it may."""
        failed = [check.name for check in self.checks if not check.passed]
        if not failed:
            return None
        message = (
            f"{self.candidate.name} fails {len(failed)} of {len(self.checks)} checks: {', '.join(failed)}"
        )
        return GateFailed(message, "the lines of these checks say what was found")

    def values(self) -> dict[str, Any]:
        """Return it as plain values."""
        candidate = self.candidate
        return {
            "name": candidate.name,
            "path": candidate.path,
            "sha256": candidate.sha256,
            "architecture": candidate.checkpoint.architecture if candidate.checkpoint else None,
            "role": candidate.role,
            "passed": self.error is None,
            "checks": [check.values() for check in self.checks],
            "cosine": self.cosines.values() if self.cosines else None,
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """Return it in lines, one a check."""
        purpose = f" for {self.candidate.role}" if self.candidate.role else ""
        head = f"{self.candidate.name}{purpose}, sha256 {self.candidate.sha256[:12]}"
        lines = [f"{_verdict(check):<8}{check.name:<14}{check.found}" for check in self.checks]
        return "\n".join([head, *lines, *(f"{'note':<8}{note}" for note in self.notes)])


def verify_candidate(candidate: Candidate, asked: Asked) -> Verified:
    """Run the checks; raises ``DataError`` where the data cannot be read or does not fit the model.

    A file that cannot be loaded fails the first check, and what follows from a check that failed is not run.
    """
    if candidate.checkpoint is None:
        return Verified(candidate, (Check("loads", passed=False, found=candidate.problem),))
    return _Verification(candidate, candidate.checkpoint, asked).verified()


class _Verification:
    """One model on its way through the checks."""

    def __init__(self, candidate: Candidate, checkpoint: Checkpoint, asked: Asked) -> None:
        self._candidate = candidate
        self._checkpoint = checkpoint
        self._asked = asked
        self._checks: list[Check] = []
        self._notes: list[str] = []
        self._holders = {role: found for role in ROLES if (found := self._holder(role))}

    def verified(self) -> Verified:
        """Run every check."""
        checkpoint = self._checkpoint
        loads = f"{checkpoint.architecture}, {checkpoint.n_parameters:,} parameters"
        self._checks += [Check("loads", passed=True, found=loads), self._dimensions()]
        sample = self._sample()
        contexts = random_contexts(checkpoint.dim)
        if sample is not None:
            self._notes += sample.notices
            contexts = np.concatenate([contexts, _without_overflow(sample.contexts[:_REAL_CONTEXTS])])
        self._checks += check_outputs(checkpoint.model, contexts)
        cosines = self._cosines(sample, self._current())
        self._note_other_width()
        return Verified(self._candidate, tuple(self._checks), cosines, tuple(self._notes))

    @property
    def _all_passed(self) -> bool:
        return all(check.passed for check in self._checks)

    def _holder(self, role: str) -> Checkpoint | None:
        """Load who has a role; one that cannot be loaded is noted, as it is a reason to replace it."""
        try:
            path = resolve_model(None, role=role, models_dir=self._asked.models_dir)
            return None if path is None else load_checkpoint(read_file(path), path)
        except (ModelError, DataError) as error:
            self._notes.append(f"nothing can be compared with {role}: {error.args[0]}")
            return None

    def _dimensions(self) -> Check:
        dim = self._checkpoint.dim
        wanted, why = self._wanted_dim()
        found = f"vectors of {dim}" if dim == wanted else f"vectors of {dim}, not of {wanted}"
        return Check("dimensions", dim == wanted, f"{found}, {why}", dim)

    def _wanted_dim(self) -> tuple[int, str]:
        """Return the width that vectors should have, and who says so."""
        if self._asked.dim is not None:
            return self._asked.dim, "as --dim says"
        for role in sorted(self._holders, key=lambda role: role != self._candidate.role):
            if not self._is_same(self._holders[role]):
                return self._holders[role].dim, f"as {role} has them"
        if self._asked.data is not None:
            return self._checkpoint.dim, "as the data has them"
        return WindowShape().dim, "the usual width; --dim gives another"

    def _sample(self) -> HeldOutSample | None:
        asked = self._asked
        if asked.data is None or not self._all_passed:
            return None
        return held_out_sample(asked.data, dim=self._checkpoint.dim, n_rows=asked.sample_rows)

    def _current(self) -> Checkpoint | None:
        """Return the model that a cosine can be compared with; the notes say why there is none."""
        role = self._candidate.role
        current = self._holders.get(role or "")
        if current is None:
            return None
        if self._is_same(current):
            self._notes.append(f"{role} has the same weights already")
        elif current.dim != self._checkpoint.dim:
            self._notes.append(f"no cosine was compared: {role} takes vectors of {current.dim}")
        elif self._asked.data is None:
            self._notes.append(f"no cosine was compared with {role}: --data names rows to do it on")
        else:
            return current
        return None

    def _is_same(self, other: Checkpoint) -> bool:
        return other.sha256 == self._checkpoint.sha256

    def _cosines(self, sample: HeldOutSample | None, current: Checkpoint | None) -> Cosines | None:
        """Compare cosines and check them, unless the model has failed before."""
        if sample is None or not self._all_passed:
            return None
        cosines = compare_cosines(
            self._checkpoint.model,
            sample,
            current=current.model if current else None,
            current_name=name_of(Path(current.name), self._asked.models_dir) if current else None,
            tolerance=self._asked.tolerance,
        )
        self._checks.append(check_cosine(cosines))
        return cosines

    def _note_other_width(self) -> None:
        for role, other in self._holders.items():
            if self._candidate.role not in {None, role} and other.dim != self._checkpoint.dim:
                self._notes.append(f"{role} takes vectors of {other.dim}: run refuses the two together")


def _without_overflow(contexts: Floats) -> Floats:
    """Leave out contexts so long that the products any model makes of them are not finite: that says nothing of one."""
    with np.errstate(over="ignore"):
        squares = np.einsum("nld,nld->n", contexts, contexts)
    return np.asarray(contexts[np.isfinite(squares)])


def _verdict(check: Check) -> str:
    return "ok" if check.passed else "failed"
