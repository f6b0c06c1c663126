"""Finds and checks the models and the bank that settings name, before a job starts.

The rule: all problems are reported together; facts are returned, never loaded models.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lvm_batch.io.bank.bank import Bank, open_bank
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.models.facts import (
    FALLBACK_ARCHITECTURES,
    PRIMARY_ARCHITECTURES,
    BankFacts,
    BankRef,
    FoundModels,
    ModelFacts,
    ModelRef,
)
from lvm_batch.jobs.models.files import check_architecture, fallback_path, primary_path
from lvm_batch.jobs.models.fit import misfits
from lvm_batch.jobs.models.load import CPU, fallback_device, open_index, read_checkpoint
from lvm_batch.jobs.models.self_check import expected_answers
from lvm_batch.lvm.devices.devices import find_device, pick_device
from lvm_batch.lvm.devices.facts import DeviceFacts
from lvm_batch.lvm.errors import DeviceError
from lvm_batch.lvm.kernels.forms import build_form
from lvm_batch.lvm.search.faiss import FAISS_PAYS_FROM

if TYPE_CHECKING:
    import torch

    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint
    from lvm_batch.lvm.devices.precision import Precision


def look_at_models(settings: RunSettings, *, with_answers: bool = False) -> FoundModels:
    """Load the models and the bank that the settings name, check that they fit together, and return the facts.

    If ``with_answers`` is set, also return the models' answers to the self-check rows.
    """
    checks = Checks()
    device = checks.run(lambda: _device(settings))
    primary = checks.run(lambda: find_primary(settings))
    fallback = checks.run(lambda: find_fallback(settings))
    bank_path = settings.bank
    bank = checks.run(lambda: find_bank(bank_path)) if bank_path else None
    if primary is not None:
        checks.errors.extend(misfits(primary, fallback, bank))
    expected = None
    if primary is not None and with_answers and not checks.errors:
        models, length = (primary.model, fallback.model if fallback else None), primary.length
        expected = checks.run(lambda: expected_answers(*models, length=length))
    if device is not None:
        checks.run(lambda: check_precision(settings, primary, fallback))
    return FoundModels(
        primary=_facts(primary) if primary else None,
        fallback=_facts(fallback) if fallback else None,
        bank=_bank_facts(bank) if bank else None,
        problems=tuple(checks.errors),
        device=device,
        expected=expected,
    )


def _device(settings: RunSettings) -> DeviceFacts:
    """Return the device of local workers; workers elsewhere find their own."""
    if settings.runs_elsewhere:
        return DeviceFacts("", "what each worker has" if settings.device == "auto" else settings.device)
    return find_device(settings.device)


def _facts(checkpoint: Checkpoint) -> ModelFacts:
    """Return the facts of a checkpoint, with a path that a worker in another folder finds too."""
    ref = ModelRef(locate(checkpoint.name).text, checkpoint.sha256, checkpoint.architecture)
    return ModelFacts(ref, WindowShape(checkpoint.length, checkpoint.dim), checkpoint.n_parameters)


def _bank_facts(bank: Bank) -> BankFacts:
    n_vectors = len(bank.vectors)
    return BankFacts(
        BankRef(bank.path, bank.digest),
        n_vectors,
        n_bytes=bank.vectors.nbytes,
        index_bytes=len(bank.index or b""),
        wants_index=bank.index is None and n_vectors >= FAISS_PAYS_FROM,
    )


def find_primary(settings: RunSettings) -> Checkpoint:
    """Load the checkpoint that ``--model`` names, or else the role ``production_model``."""
    return _of_architecture(primary_path(settings), PRIMARY_ARCHITECTURES, "--model")


def find_fallback(settings: RunSettings) -> Checkpoint | None:
    """Load the checkpoint that ``--fallback`` names, or else the role ``fallback_model``; ``None`` if neither does."""
    path = fallback_path(settings)
    return None if path is None else _of_architecture(path, FALLBACK_ARCHITECTURES, "--fallback")


def check_precision(settings: RunSettings, primary: Checkpoint | None, fallback: Checkpoint | None) -> None:
    """Raise ``DeviceError`` or ``ArchitectureError`` if a model cannot run in the precision of the settings.

    Workers elsewhere check their own devices.
    """
    if settings.precision == "fp32":
        return
    if settings.runs_elsewhere:
        if settings.precision == "int8":
            with suppress(DeviceError):  # this machine computes nothing
                _check_forms((primary, CPU), (fallback, CPU), precision="int8")
        return
    first = pick_device(settings.device)
    second = fallback_device(first, settings.fallback_device)
    _check_forms((primary, first), (fallback, second), precision=settings.precision)


def _check_forms(*models: tuple[Checkpoint | None, torch.device], precision: Precision) -> None:
    for checkpoint, device in models:
        if checkpoint is not None:
            build_form(checkpoint.model, device, precision)


def find_bank(path: str) -> Bank:
    """Open the bank that ``--bank`` names; raises ``MissingExtra`` if its index needs one that is missing."""
    bank = open_bank(locate(path).text)
    if bank.index is not None:
        open_index(bank, pick_device("cpu"))
    return bank


def _of_architecture(path: str, allowed: tuple[str, ...], option: str) -> Checkpoint:
    checkpoint = read_checkpoint(path)
    check_architecture(path, checkpoint.architecture, allowed, option)
    return checkpoint
