"""Loads the models and the bank of a job on a worker.

The rule: a worker uses exactly the files that the job was planned with; it compares their digests.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lvm_batch.errors import LvmBatchError
from lvm_batch.io.bank.bank import Bank, open_bank
from lvm_batch.io.storage.locations import locate, read_file
from lvm_batch.jobs.models.facts import NamedModels
from lvm_batch.jobs.models.router import load_router
from lvm_batch.jobs.processes.forkserver import read_note
from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint, load_checkpoint
from lvm_batch.lvm.devices.devices import pick_device
from lvm_batch.lvm.devices.open import open_accelerator
from lvm_batch.lvm.errors import BankError, CheckpointError
from lvm_batch.lvm.inference.cascade import Cascade, ContextPredictor, NeighbourIndex
from lvm_batch.lvm.inference.pipelined import PipelinedPredictor
from lvm_batch.lvm.inference.predictor import Predictor
from lvm_batch.lvm.search.exact import ExactIndex
from lvm_batch.lvm.search.faiss import FaissIndex
from lvm_batch.lvm.search.screened import ScreenedIndex

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from lvm_batch.io.bank.keys import BankKeys
    from lvm_batch.jobs.models.facts import BankRef, ModelRef, ModelSet
    from lvm_batch.lvm.devices.accelerator import Accelerator
    from lvm_batch.lvm.devices.precision import Precision


CPU = torch.device("cpu")

# Loaded before this process was copied; by the SHA-256 of the file, and its precision.
_checkpoints: dict[str, Checkpoint] = {}
_predictors: dict[tuple[str, Precision], Predictor] = {}


def load_announced() -> None:
    """Load the models that the driver has announced by now, if this process is its fork server.

    Its copies share their memory. What is wrong with a model is left to the copy that looks at it.
    """
    note = read_note()
    if note is not None:
        with suppress(LvmBatchError, OSError, RuntimeError, ValueError):
            load_ahead(NamedModels(**json.loads(note)))


def load_ahead(named: NamedModels) -> None:
    """Load checkpoints for the copies of this process: those in local files, and for use on a CPU.

    Raises the error of the first that cannot be loaded.
    """
    if named.device not in {"auto", "cpu"}:
        return
    for path in filter(None, (named.primary, named.fallback)):
        if not (place := locate(path)).is_local:
            continue
        checkpoint = load_checkpoint(Path(place.path).read_bytes(), path)
        _checkpoints[checkpoint.sha256] = checkpoint
        _predictors[checkpoint.sha256, named.precision] = Predictor(
            checkpoint.model, CPU, precision=named.precision
        )


def load_cascade(models: ModelSet) -> Cascade:
    """Load the models and the router, and open the bank, on this process's device."""
    device = pick_device(models.device)
    accelerator = open_accelerator(device)
    primary = _predictor(models, models.primary, device, accelerator)
    fallback = None
    if models.fallback is not None:
        second = fallback_device(device, models.fallback_device)
        beside = accelerator if second == device else open_accelerator(second)
        fallback = _predictor(models, models.fallback, second, beside)
    index = _index(models.bank, device, accelerator)
    router = load_router(models.router)
    return Cascade(primary, fallback, index, models.thresholds, models.own_context, router)


def fallback_device(primary: torch.device, wanted: str | None) -> torch.device:
    """Return the device of the fallback: ``wanted``, or else the primary's, but the CPU beside MPS.

    A recurrent model takes many small steps, and MPS would start each of them separately. (Not measured: no Mac.)
    """
    if wanted is not None:
        return pick_device(wanted)
    return CPU if primary.type == "mps" else primary


def read_checkpoint(path: str) -> Checkpoint:
    """Load a checkpoint from a path or a URL, unless it has been loaded ahead; raises ``CheckpointError``."""
    data = read_file(path)
    ready = _checkpoints.get(hashlib.sha256(data).hexdigest()) if _checkpoints else None
    return load_checkpoint(data, path) if ready is None else replace(ready, name=path)


def _predictor(
    models: ModelSet, model: ModelRef, device: torch.device, accelerator: Accelerator | None
) -> ContextPredictor:
    if accelerator is None and (ready := _predictors.get((model.sha256, models.precision))):
        return ready
    checkpoint = read_checkpoint(model.path)
    if checkpoint.sha256 != model.sha256:
        raise CheckpointError(
            f"{model.path} has changed since the job was planned",
            "do not change models while a job runs",
        )
    if accelerator is None:
        return Predictor(checkpoint.model, device, precision=models.precision)
    return PipelinedPredictor(checkpoint.model, accelerator, precision=models.precision)


@lru_cache(maxsize=2)
def load_ids(bank: BankRef) -> pa.Array:
    """Return the ids of a bank; raises ``BankError`` if they are not those that the job was planned with."""
    ids = open_bank(bank.path, with_index=False).read_ids()
    if ids is None or ids.digest != bank.ids:
        raise BankError(
            f"{bank.path} has other ids than when the job was planned",
            "do not change the bank while a job runs",
        )
    return ids.values


@lru_cache(maxsize=2)
def load_keys(bank: BankRef | None) -> BankKeys | None:
    """Return where a bank's vectors stand, if the job uses that; raises ``BankError`` as :func:`load_ids` does."""
    if bank is None or bank.keys is None:
        return None
    keys = open_bank(bank.path, with_index=False).read_keys()
    if keys is None or keys.digest != bank.keys:
        raise BankError(
            f"{bank.path} has not the articles and positions that the job was planned with",
            "leave the bank in place while a job runs",
        )
    return keys


def _index(
    bank: BankRef | None, device: torch.device, accelerator: Accelerator | None
) -> NeighbourIndex | None:
    if bank is None:
        return None
    opened = open_bank(bank.path)
    if opened.digest != bank.digest:
        raise BankError(
            f"{bank.path} has changed since the job was planned",
            "do not change the bank while a job runs",
        )
    keys = load_keys(bank)
    free_bytes = accelerator.free_bytes() if accelerator else None
    return open_index(opened, device, free_bytes=free_bytes, numbers=keys.numbers if keys else None)


def open_index(
    bank: Bank,
    device: torch.device,
    *,
    free_bytes: int | None = None,
    numbers: NDArray[np.int64] | None = None,
) -> NeighbourIndex:
    """Return an index over a bank: faiss's if the bank has one, else an exact one on ``device``.

    ``numbers`` are those of the rows that its vectors are from, if own contexts are to be known by them. Raises
    ``BankError``, and ``MissingExtra`` if faiss is needed and not installed.
    """
    if bank.index is not None:
        return FaissIndex(bank.index, bank.vectors, name=bank.path, numbers=numbers)
    try:
        if device.type == "cpu":
            return ExactIndex(bank.vectors, device, numbers=numbers)
        return ScreenedIndex(bank.vectors, device, free_bytes=free_bytes, numbers=numbers)
    except BankError as error:
        message, *hint = error.args
        raise BankError(f"{bank.path}: {message}", *hint) from error
