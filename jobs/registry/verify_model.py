"""Verifies a model for its role, and changes nothing.

The rule: a candidate is compared with the model that has the role at that moment. If that one cannot be loaded, a note
says so and the other checks run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.errors import DataError
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.storage.locations import read_file
from lvm_batch.jobs.evaluation.judged_models import load_bank
from lvm_batch.jobs.models.seen_rows import SeenRows
from lvm_batch.jobs.registry.held_out_sample import held_out_sample
from lvm_batch.jobs.registry.model_checks import (
    Check,
    Cosines,
    check_cosine,
    check_outputs,
    check_seen,
    compare_cosines,
    random_contexts,
)
from lvm_batch.jobs.registry.retrieval_gates import check_gates, measure_retrieval
from lvm_batch.jobs.registry.verification_result import VerificationResult
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.registry.registry import ROLES, resolve_model
from lvm_batch.lvm.registry.roles import name_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.jobs.registry.candidate import Candidate, VerificationRequest
    from lvm_batch.jobs.registry.held_out_sample import HeldOutSample
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint

    Floats = NDArray[np.float32]

_REAL_CONTEXTS = 256
"""Contexts of the data that are checked besides the random ones."""


def verify_candidate(candidate: Candidate, request: VerificationRequest) -> VerificationResult:
    """Run the checks; raises ``DataError`` if the data cannot be read or does not fit the model.

    A file that cannot be loaded fails the first check. Checks that depend on a failed one do not run.
    """
    if candidate.checkpoint is None:
        return VerificationResult(candidate, (Check("loads", passed=False, found=candidate.problem),))
    return _Verification(candidate, candidate.checkpoint, request).run()


class _Verification:
    """The checks of one model, and what they have found so far."""

    def __init__(self, candidate: Candidate, checkpoint: Checkpoint, request: VerificationRequest) -> None:
        self._candidate = candidate
        self._checkpoint = checkpoint
        self._request = request
        self._checks: list[Check] = []
        self._notes: list[str] = []
        self._holders = {role: model for role in ROLES if (model := self._holder(role))}

    def run(self) -> VerificationResult:
        """Run every check."""
        checkpoint = self._checkpoint
        loads = f"{checkpoint.architecture}, {checkpoint.n_parameters:,} parameters"
        self._checks += [Check("loads", passed=True, found=loads), self._dimensions()]
        bank = load_bank(self._request.bank, dim=checkpoint.dim) if self._all_passed else None
        sample = self._sample()
        contexts = random_contexts(checkpoint.dim, checkpoint.length)
        if sample is not None:
            self._notes += sample.notices
            contexts = np.concatenate([contexts, _without_overflow(sample.contexts[:_REAL_CONTEXTS])])
        self._checks += check_outputs(checkpoint.model, contexts)
        current = self._current()
        if sample is None or not self._all_passed:
            return self._result()
        cosines = self._cosines(sample, current)
        seen = self._seen(sample)
        retrieval = measure_retrieval(checkpoint.model, sample, bank) if bank else None
        self._checks += check_gates(retrieval, self._request.gates) if retrieval else ()
        return self._result(cosines=cosines, seen=seen, retrieval=retrieval)

    def _result(self, **figures: Any) -> VerificationResult:  # noqa: ANN401 - the result's own
        self._note_other_sizes()
        return VerificationResult(self._candidate, tuple(self._checks), notes=tuple(self._notes), **figures)

    @property
    def _all_passed(self) -> bool:
        return all(check.passed for check in self._checks)

    def _holder(self, role: str) -> Checkpoint | None:
        """Load the model that has a role; if it cannot be loaded, note it: that is a reason to replace it."""
        try:
            path = resolve_model(None, role=role, models_dir=self._request.models_dir)
            return None if path is None else load_checkpoint(read_file(path), path)
        except (ModelError, DataError) as error:
            self._notes.append(f"nothing can be compared with {role}: {error.args[0]}")
            return None

    def _dimensions(self) -> Check:
        dim = self._checkpoint.dim
        wanted, why = self._wanted_dim()
        text = f"vectors of {dim}" if dim == wanted else f"vectors of {dim}, not of {wanted}"
        contexts = (
            ""
            if self._checkpoint.length == WindowShape().length
            else f"; contexts of {self._checkpoint.length}"
        )
        return Check("dimensions", dim == wanted, f"{text}, {why}{contexts}", dim)

    def _wanted_dim(self) -> tuple[int, str]:
        """Return the width that vectors should have, and where it comes from."""
        if self._request.dim is not None:
            return self._request.dim, "as given by --dim"
        for role in sorted(self._holders, key=lambda role: role != self._candidate.role):
            if not self._is_same(self._holders[role]):
                return self._holders[role].dim, f"as in {role}"
        if self._request.data is not None:
            return self._checkpoint.dim, "as in the data"
        return WindowShape().dim, "the usual width; change it with --dim"

    def _sample(self) -> HeldOutSample | None:
        request = self._request
        if request.data is None or not self._all_passed:
            return None
        shape = WindowShape(self._checkpoint.length, self._checkpoint.dim)
        return held_out_sample(request.data, shape=shape, n_rows=request.sample_rows)

    def _current(self) -> Checkpoint | None:
        """Return the model to compare cosines with; if there is none, the notes say why."""
        role = self._candidate.role
        current = self._holders.get(role or "")
        if current is None:
            return None
        if self._is_same(current):
            self._notes.append(f"{role} has the same weights already")
        elif current.dim != self._checkpoint.dim:
            self._notes.append(f"no cosine was compared: {role} takes vectors of {current.dim}")
        elif current.length != self._checkpoint.length:
            self._notes.append(f"no cosine was compared: {role} takes contexts of {current.length} vectors")
        elif self._request.data is None:
            self._notes.append(f"no cosine was compared with {role}: give rows for that with --data")
        else:
            return current
        return None

    def _is_same(self, other: Checkpoint) -> bool:
        return other.sha256 == self._checkpoint.sha256

    def _cosines(self, sample: HeldOutSample, current: Checkpoint | None) -> Cosines:
        """Compare cosines and check them."""
        cosines = compare_cosines(
            self._checkpoint.model,
            sample,
            current=current.model if current else None,
            current_name=name_of(Path(current.name), self._request.models_dir) if current else None,
            tolerance=self._request.tolerance,
        )
        check = check_cosine(cosines)
        if self._checkpoint.training_vectors is None:
            check = replace(check, found=f"{check.found}; rows seen in its training: unknown")
        self._checks.append(check)
        return cosines

    def _seen(self, sample: HeldOutSample) -> SeenRows | None:
        """Count the rows that the model was trained on and check their share, if its checkpoint tells."""
        digest = self._checkpoint.training_vectors
        if digest is None:
            return None
        seen = SeenRows.of(digest.tell_rows(sample.contexts, sample.targets), digest)
        self._checks.append(check_seen(seen, self._request.max_seen))
        return seen

    def _note_other_sizes(self) -> None:
        for role, other in self._holders.items():
            if self._candidate.role in {None, role}:
                continue
            if other.dim != self._checkpoint.dim:
                self._notes.append(f"{role} takes vectors of {other.dim}: a run refuses the two together")
            elif other.length != self._checkpoint.length:
                self._notes.append(
                    f"{role} takes contexts of {other.length} vectors: a run refuses the two together"
                )


def _without_overflow(contexts: Floats) -> Floats:
    """Remove contexts whose squared norm overflows float32: no model predicts finite values from them."""
    with np.errstate(over="ignore"):
        squares = np.einsum("nld,nld->n", contexts, contexts)
    return np.asarray(contexts[np.isfinite(squares)])
