"""The tolerance of every unit-norm check, written down a second time so that a change of it is noticed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from lvm_batch.jobs.registry.model_checks import check_outputs, random_contexts
from lvm_batch.jobs.training.notices import odd_norms
from lvm_batch.lvm.errors import BankError
from lvm_batch.lvm.inference.cosines import has_unit_norm
from lvm_batch.lvm.search.exact import check_bank

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

DIM = 16


def bank_takes(vectors: Floats) -> bool:
    """Whether vectors are accepted as a bank."""
    try:
        check_bank(vectors)
    except BankError:
        return False
    return True


def run_takes(vectors: Floats) -> bool:
    """Whether a run, or a service, accepts vectors as a model's answers."""
    return bool(has_unit_norm(vectors).all())


class Answering(torch.nn.Module):
    """A model that answers every context with the same vectors."""

    dim, context_length, unit_inputs = DIM, 5, False

    def __init__(self, vectors: Floats) -> None:
        super().__init__()
        self.vectors = torch.from_numpy(vectors)

    def forward(self, contexts: torch.Tensor) -> torch.Tensor:
        """Answer contexts."""
        return self.vectors[:1].expand(len(contexts), -1)

    def packed(self) -> Answering:
        """The form in which a CPU runs it."""
        return self


def promotion_takes(vectors: Floats) -> bool:
    """Whether a model that answers with one of these vectors passes the check before it gets a role."""
    first, *_ = check_outputs(Answering(vectors[-1:]), random_contexts(DIM))  # type: ignore[arg-type]
    assert first.name == "unit norm"
    return first.passed


def training_is_silent(vectors: Floats) -> bool:
    """Whether training logs nothing about such vectors."""
    sample = torch.from_numpy(np.repeat(vectors[-1:, None], 5, axis=1))
    split = SimpleNamespace(training=SimpleNamespace(sample=lambda _: sample))
    return not list(odd_norms(split))  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("takes", "tolerance"),
    [(bank_takes, 1e-3), (run_takes, 5e-4), (promotion_takes, 1e-5), (training_is_silent, 1e-2)],
)
def test_a_norm_is_one_within_its_tolerance(
    takes: Callable[[Floats], bool], tolerance: float, side: int
) -> None:
    """Every check accepts a norm within the tolerance and rejects one outside it, even in a single vector of many."""
    vectors = np.eye(DIM, dtype=np.float32)
    for off, is_taken in ((0.0, True), (0.8 * tolerance, True), (1.3 * tolerance, False)):
        vectors[-1, -1] = 1 + side * off
        assert takes(vectors) == is_taken
