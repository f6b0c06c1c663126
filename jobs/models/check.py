"""Finds and checks the models and the bank that settings name, before a job starts.

The rule: all problems are reported together; facts are returned, never loaded models.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.bank.bank import Bank, open_bank
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.models.facts import BankFacts, BankRef, FoundModels, ModelFacts, ModelRef
from lvm_batch.jobs.models.load import CPU, fallback_device, open_index, read_checkpoint
from lvm_batch.jobs.models.self_check import expected_answers
from lvm_batch.lvm.devices.devices import find_device, pick_device
from lvm_batch.lvm.devices.facts import DeviceFacts
from lvm_batch.lvm.errors import ArchitectureError, BankError, CheckpointError, DeviceError
from lvm_batch.lvm.kernels.forms import build_form
from lvm_batch.lvm.registry.registry import resolve_model
from lvm_batch.lvm.search.faiss import FAISS_PAYS_FROM

if TYPE_CHECKING:
    import torch

    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint
    from lvm_batch.lvm.devices.precision import Precision

PRIMARY_ARCHITECTURES = ("amn", "amn-mixer")
FALLBACK_ARCHITECTURES = ("gru",)


def look_at_models(settings: RunSettings, *, context_length: int | None = None) -> FoundModels:
    """Load the models and the bank that the settings name, check that they fit together, and return the facts.

    If ``context_length`` is given, also return the models' answers to the self-check rows.
    """
    checks = Checks()
    device = checks.run(lambda: _device(settings))
    primary = checks.run(lambda: find_primary(settings))
    fallback = checks.run(lambda: find_fallback(settings))
    bank_path = settings.bank
    bank = checks.run(lambda: find_bank(bank_path)) if bank_path else None
    if primary is not None:
        dim = primary.dim
        checks.run(lambda: check_dimensions(dim, fallback, bank))
    expected = None
    if primary is not None and context_length and not checks.errors:
        models = (primary.model, fallback.model if fallback else None)
        expected = checks.run(lambda: expected_answers(*models, length=context_length))
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
    return ModelFacts(ref, checkpoint.dim, checkpoint.n_parameters)


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
    path = resolve_model(settings.model, role="production_model", models_dir=Path(settings.models_dir))
    if path is None:
        raise CheckpointError(
            f"there is no primary model: neither --model nor {Path(settings.models_dir).parent}/production_model",
            "give --model CKPT, or train one: `lvm-batch demo` makes one to try",
        )
    return _of_architecture(read_checkpoint(path), PRIMARY_ARCHITECTURES, "--model")


def find_fallback(settings: RunSettings) -> Checkpoint | None:
    """Load the checkpoint that ``--fallback`` names, or else the role ``fallback_model``; ``None`` if neither does."""
    path = resolve_model(settings.fallback, role="fallback_model", models_dir=Path(settings.models_dir))
    return (
        None
        if path is None
        else _of_architecture(read_checkpoint(path), FALLBACK_ARCHITECTURES, "--fallback")
    )


def check_dimensions(dim: int, fallback: Checkpoint | None, bank: Bank | None) -> None:
    """Raise :class:`ArchitectureError` or :class:`BankError` if the fallback or the bank has another dimension."""
    if fallback is not None and fallback.dim != dim:
        raise ArchitectureError(
            f"{fallback.name} takes vectors of {fallback.dim}, the primary model of {dim}",
            "give --fallback a model trained on the same vectors",
        )
    if bank is not None and bank.dim != dim:
        raise BankError(
            f"{bank.path} holds vectors of {bank.dim}, the primary model predicts vectors of {dim}",
            "build a bank of vectors of the same encoder: lvm-batch bank build",
        )


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


def _of_architecture(checkpoint: Checkpoint, allowed: tuple[str, ...], option: str) -> Checkpoint:
    if checkpoint.architecture not in allowed:
        raise CheckpointError(
            f"{checkpoint.name} is a model of the architecture {checkpoint.architecture}, which {option} does not take",
            f"give {option} one of {' or '.join(allowed)}",
        )
    return checkpoint
