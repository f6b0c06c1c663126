"""The gates of a release: how often a model's predictions find the true next vector in a bank.

The rule: the figures are those of ``evaluate``. A gate without a figure is refused, and is never passed or failed.

The release notes behind the model cards ask for R@5 of at least 0.30 or an MRR of at least 0.20, and for Contain@50 of
at least 0.82.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.errors import DataError
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.registry.model_checks import Check
from lvm_batch.lvm.devices.devices import pick_device
from lvm_batch.lvm.evaluation.retrieval import RankSearch, summarise_ranks
from lvm_batch.lvm.inference.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.bank.bank import Bank
    from lvm_batch.jobs.registry.candidate import RetrievalGates
    from lvm_batch.jobs.registry.held_out_sample import HeldOutSample
    from lvm_batch.lvm.architectures.context_model import ContextModel

_NAMES = {"recall_at_5": "R@5", "mrr": "MRR", "contain_at_50": "Contain@50"}


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The figures of ``rows`` of a sample, those whose target is among the vectors of the bank with this ``digest``."""

    bank: str
    digest: str
    vectors: int
    rows: int
    recall_at_5: float
    mrr: float
    contain_at_50: float

    def values(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return asdict(self)


def measure_retrieval(model: ContextModel, sample: HeldOutSample, bank: Bank) -> Retrieval:
    """Search the bank for the targets of a sample; raises ``DataError`` if it holds none of them."""
    cpu = pick_device("cpu")
    search = RankSearch(bank.vectors, cpu)
    ranks = search.ranks(
        Predictor(model, cpu)(sample.contexts), search.places(sample.targets, sample.contexts)
    )
    found = summarise_ranks(ranks)
    if found.recall_at is None or found.mrr is None or found.contain_at_50 is None:
        raise DataError(
            f"{bank.path} holds no target of {plural(len(ranks), 'window')}, so no retrieval gate can be checked",
            "give a --bank whose vectors include those of --data",
        )
    return Retrieval(
        bank.path, bank.digest, len(bank.vectors), found.n, found.recall_at[5], found.mrr, found.contain_at_50
    )


def check_gates(found: Retrieval, gates: RetrievalGates) -> Iterator[Check]:
    """Yield a check for each gate that is set."""
    for field in fields(gates):
        name, least = field.name.removeprefix("min_"), getattr(gates, field.name)
        if least is not None:
            figure = float(getattr(found, name))
            text = f"{figure:.4f} on {plural(found.rows, 'window')} whose target the bank holds, at least {least:g}"
            yield Check(_NAMES[name], bool(np.isfinite(figure) and figure >= least), text, figure)
