"""Loads and checks the models and the bank that settings name, before a job starts.

The rule: all problems are reported together; facts are returned, never loaded models. No settings are imported here, so
that a process that looks at models starts sooner.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lvm_batch.io.bank.bank import Bank, open_bank
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.models.facts import (
    FALLBACK_ARCHITECTURES,
    PRIMARY_ARCHITECTURES,
    BankFacts,
    BankRef,
    FoundModels,
    ModelFacts,
    ModelRef,
)
from lvm_batch.jobs.models.fit import check_architecture, misfits
from lvm_batch.jobs.models.load import CPU, fallback_device, open_index, read_checkpoint
from lvm_batch.jobs.models.router import find_router
from lvm_batch.jobs.models.self_check import expected_answers
from lvm_batch.lvm.devices.devices import find_device, pick_device
from lvm_batch.lvm.devices.facts import DeviceFacts
from lvm_batch.lvm.errors import BankError, DeviceError
from lvm_batch.lvm.kernels.forms import build_form
from lvm_batch.lvm.search.faiss import FAISS_PAYS_FROM

if TYPE_CHECKING:
    import torch

    from lvm_batch.io.bank.ids import BankIds
    from lvm_batch.io.bank.keys import BankKeys
    from lvm_batch.jobs.models.facts import NamedModels
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint
    from lvm_batch.lvm.devices.precision import Precision


def look_at_models(named: NamedModels, *, with_answers: bool = False) -> FoundModels:
    """Load the models, the bank and the router, check that they fit together, and return the facts.

    If ``with_answers`` is set, also return the models' answers to the self-check rows.
    """
    checks = Checks()
    device = checks.run(lambda: _device(named))
    primary = checks.run(lambda: find_primary(named))
    fallback = checks.run(lambda: find_fallback(named))
    bank_path = named.bank
    bank = checks.run(lambda: find_bank(bank_path)) if bank_path else None
    ids = checks.run(lambda: find_ids(bank, named.n_neighbours)) if bank and named.n_neighbours else None
    keys = checks.run(bank.read_keys) if bank else None
    if primary is not None:
        checks.errors.extend(misfits(primary, fallback, bank))
    router = find_router(named.router, primary, fallback, checks=checks)
    expected = None
    if primary is not None and with_answers and not checks.errors:
        models, length = (primary.model, fallback.model if fallback else None), primary.length
        expected = checks.run(lambda: expected_answers(*models, length=length))
    if device is not None:
        checks.run(lambda: check_precision(named, primary, fallback))
    return FoundModels(
        primary=_facts(primary) if primary else None,
        fallback=_facts(fallback) if fallback else None,
        bank=_bank_facts(bank, ids, keys) if bank else None,
        problems=tuple(checks.errors),
        device=device,
        expected=expected,
        router=router,
    )


def _device(named: NamedModels) -> DeviceFacts:
    """Return the device of local workers; workers elsewhere find their own."""
    if named.runs_elsewhere:
        return DeviceFacts("", "each worker's memory" if named.device == "auto" else named.device)
    return find_device(named.device)


def _facts(checkpoint: Checkpoint) -> ModelFacts:
    """Return the facts of a checkpoint, with a path that a worker in another folder finds too."""
    ref = ModelRef(locate(checkpoint.name).text, checkpoint.sha256, checkpoint.architecture)
    return ModelFacts(ref, WindowShape(checkpoint.length, checkpoint.dim), checkpoint.n_parameters)


def _bank_facts(bank: Bank, ids: BankIds | None, keys: BankKeys | None) -> BankFacts:
    n_vectors = len(bank.vectors)
    return BankFacts(
        BankRef(bank.path, bank.digest, ids.digest if ids else None, keys.digest if keys else None),
        n_vectors,
        n_bytes=bank.vectors.nbytes,
        index_bytes=len(bank.index or b""),
        wants_index=bank.index is None and n_vectors >= FAISS_PAYS_FROM,
        id_bytes=ids.values.nbytes if ids else 0,
        id_type=ids.values.type if ids else None,
        named_by=ids.named_by if ids else None,
        key_bytes=keys.nbytes if keys else 0,
    )


def find_primary(named: NamedModels) -> Checkpoint:
    """Load the checkpoint of the primary model."""
    return _of_architecture(named.primary, PRIMARY_ARCHITECTURES, "--model")


def find_fallback(named: NamedModels) -> Checkpoint | None:
    """Load the checkpoint of the fallback, if there is one."""
    path = named.fallback
    return None if path is None else _of_architecture(path, FALLBACK_ARCHITECTURES, "--fallback")


def check_precision(named: NamedModels, primary: Checkpoint | None, fallback: Checkpoint | None) -> None:
    """Raise ``DeviceError`` or ``ArchitectureError`` if a model cannot run in the precision of the settings.

    Workers elsewhere check their own devices.
    """
    if named.precision == "fp32":
        return
    if named.runs_elsewhere:
        if named.precision == "int8":
            with suppress(DeviceError):  # this machine computes nothing
                _check_forms((primary, CPU), (fallback, CPU), precision="int8")
        return
    first = pick_device(named.device)
    second = fallback_device(first, named.fallback_device)
    _check_forms((primary, first), (fallback, second), precision=named.precision)


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


def find_ids(bank: Bank, n_neighbours: int) -> BankIds:
    """Return the ids of a bank; raises ``BankError`` if it has none, or fewer vectors than ``--neighbours``."""
    if n_neighbours > len(bank.vectors):
        raise BankError(
            f"--neighbours {n_neighbours} is more than the {plural(len(bank.vectors), 'vector')} of {bank.path}",
            "give a smaller number or a larger bank",
        )
    ids = bank.read_ids()
    if ids is None:
        raise BankError(
            f"--neighbours writes ids of vectors, but {bank.path} has no ids.parquet",
            "build it again: lvm-batch bank build VECTORS --output BANK",
        )
    return ids


def _of_architecture(path: str, allowed: tuple[str, ...], option: str) -> Checkpoint:
    checkpoint = read_checkpoint(path)
    check_architecture(path, checkpoint.architecture, allowed, option)
    return checkpoint
