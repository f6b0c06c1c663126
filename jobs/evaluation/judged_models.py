"""Finds, checks and loads the models and the bank of an evaluation, and measures the models' latency.

The rule: everything that a model or the bank can be refused for is found before a row is read, and raised together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.bank.bank import open_bank
from lvm_batch.io.storage.locations import locate, read_file
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.evaluation.preflight import model_paths, refuse_different_shapes
from lvm_batch.jobs.evaluation.row_scores import BASELINES
from lvm_batch.jobs.models.latency import checkpoint_query_cost
from lvm_batch.jobs.processes.forkserver import in_forked_process
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.devices.devices import pick_device
from lvm_batch.lvm.errors import ArchitectureError, BankError
from lvm_batch.lvm.inference.predictor import Predictor
from lvm_batch.lvm.registry.registry import CHECKPOINT_FILES
from lvm_batch.lvm.registry.roles import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from lvm_batch.io.bank.bank import Bank
    from lvm_batch.jobs.models.latency import QueryCost
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint

QUERIES = 500


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """A model with its name, the bytes of its file, and what one query takes on one thread."""

    name: str
    checkpoint: Checkpoint
    n_bytes: int
    cost: QueryCost
    predict: Predictor


def load_models(settings: EvaluateSettings) -> list[JudgedModel]:
    """Load the models of ``--model``, or else those with a role; all read contexts of one shape.

    Raises ``ModelError``, ``DataError`` or ``JobError``.
    """
    device = pick_device(settings.device)
    checks = Checks()
    paths = model_paths(settings)
    names = _names(paths, Path(settings.models_dir))
    loaded = [
        checks.run(lambda path=path, name=name: _load(path, name, device, length=settings.context_length))  # type: ignore[misc]
        for path, name in zip(paths, names, strict=True)
    ]
    checks.raise_all()
    models = [model for model in loaded if model is not None]
    refuse_different_shapes([model.checkpoint for model in models], settings)
    return models


def load_bank(path: str | None, *, dim: int) -> Bank | None:
    """Open the bank at ``path``, if one is given; raises ``BankError`` if its vectors have another width."""
    if path is None:
        return None
    bank = open_bank(locate(path).text)
    if bank.dim != dim:
        raise BankError(
            f"{bank.path} holds vectors of {bank.dim}, the models predict vectors of {dim}",
            "build a bank of vectors of the same encoder: lvm-batch bank build",
        )
    return bank


def _names(paths: Sequence[str], models_dir: Path) -> list[str]:
    """Return a name for each model: its name in the registry, or else that of its file or folder.

    If two models or a model and a baseline would have the same name, it is the path.
    """
    short = [path if "://" in path else _short_name(Path(path), models_dir) for path in paths]
    counts = Counter([*short, *BASELINES])
    return [_path_name(path) if counts[name] > 1 else name for path, name in zip(paths, short, strict=True)]


def _path_name(path: str) -> str:
    """Return a path that cannot be mistaken for a name."""
    return path if "/" in path else f"./{path}"


def _short_name(path: Path, models_dir: Path) -> str:
    name = Path(name_of(path, models_dir))
    if not name.is_absolute():
        return str(name)
    return name.stem if name.is_file() and name.name not in CHECKPOINT_FILES else name.parent.name


def _load(path: str, name: str, device: torch.device, *, length: int | None) -> JudgedModel:
    content = read_file(path)
    checkpoint = load_checkpoint(content, path)
    try:
        cost = in_forked_process(
            checkpoint_query_cost, content, path, length=length or checkpoint.length, n_queries=QUERIES
        )
    except ArchitectureError as error:
        raise ArchitectureError(
            f"{path}: {error.message}", "give a smaller --context-length, or leave this model out"
        ) from error
    return JudgedModel(name, checkpoint, len(content), cost, Predictor(checkpoint.model, device))
