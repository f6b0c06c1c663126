"""Models, checkpoints, inference, routing, neighbour search and training.

The one rule: importing this room imports neither torch nor numpy; each public name brings its module on first
use. Knows torch and numpy; does not know Parquet, Dask, or the command.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvm_batch.lvm.architectures.amn import AttentionMixtureNetwork
    from lvm_batch.lvm.architectures.amn_mixer import AttentionMixerNetwork
    from lvm_batch.lvm.architectures.catalog import ARCHITECTURES, PRESETS, build_model
    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.architectures.gru import GRUStack
    from lvm_batch.lvm.architectures.lstm import LSTMBaseline
    from lvm_batch.lvm.architectures.transformer import TransformerPredictor
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from lvm_batch.lvm.devices.accelerator import Accelerator
    from lvm_batch.lvm.devices.devices import DEVICES, find_device, pick_device, set_threads
    from lvm_batch.lvm.devices.found import FoundDevice
    from lvm_batch.lvm.devices.open import open_accelerator
    from lvm_batch.lvm.devices.precision import Precision, check_precision
    from lvm_batch.lvm.errors import (
        ArchitectureError,
        BankError,
        CheckpointError,
        DeviceError,
        MissingExtra,
        ModelError,
    )
    from lvm_batch.lvm.evaluation.bootstrap import (
        CosineSummary,
        interval,
        mean_squared_error,
        resampled_means,
        summarise_cosines,
    )
    from lvm_batch.lvm.evaluation.calibration import CalibrationRows
    from lvm_batch.lvm.evaluation.retrieval import (
        Places,
        RankSearch,
        RetrievalSummary,
        recall_curve,
        summarise_ranks,
    )
    from lvm_batch.lvm.evaluation.threshold_search import Recovery, find_thresholds, recoveries
    from lvm_batch.lvm.inference.cosines import row_cosines
    from lvm_batch.lvm.inference.pipelined import PipelinedPredictor
    from lvm_batch.lvm.inference.predictor import Predictor
    from lvm_batch.lvm.inference.routing import REASONS, cap, escalation_reasons, shadow_rows
    from lvm_batch.lvm.inference.thresholds import HIGH_STAKES_LANES, Thresholds
    from lvm_batch.lvm.registry.published_cards import PUBLISHED, PublishedCard
    from lvm_batch.lvm.registry.registry import (
        DEFAULT_MODELS_DIR,
        ROLES,
        list_models,
        named_model,
        resolve_model,
    )
    from lvm_batch.lvm.registry.role_log import RoleChange, read_role_log
    from lvm_batch.lvm.registry.roles import Held, give_role, holder
    from lvm_batch.lvm.search.exact import ExactIndex
    from lvm_batch.lvm.search.faiss import FAISS_PAYS_FROM, FaissIndex, build_faiss_index
    from lvm_batch.lvm.search.screened import ScreenedIndex
    from lvm_batch.lvm.training.recipes import Recipe, recipe_for
    from lvm_batch.lvm.training.ridge import RidgePredictor, RidgeSums
    from lvm_batch.lvm.training.ridge_start import begin_at_ridge
    from lvm_batch.lvm.training.training import Epoch, History, Training
    from lvm_batch.lvm.training.windows import Windows

_NAMES_IN = {
    "devices.accelerator": ("Accelerator",),
    "architectures.amn": ("AttentionMixtureNetwork",),
    "architectures.amn_mixer": ("AttentionMixerNetwork",),
    "architectures.catalog": ("ARCHITECTURES", "PRESETS", "build_model"),
    "training.ridge_start": ("begin_at_ridge",),
    "evaluation.calibration": ("CalibrationRows",),
    "checkpoints.checkpoint": ("Checkpoint", "load_checkpoint", "save_checkpoint"),
    "architectures.context_model": ("ContextModel",),
    "devices.devices": ("DEVICES", "find_device", "pick_device", "set_threads"),
    "errors": (
        "ArchitectureError",
        "BankError",
        "CheckpointError",
        "DeviceError",
        "MissingExtra",
        "ModelError",
    ),
    "evaluation.bootstrap": (
        "CosineSummary",
        "interval",
        "mean_squared_error",
        "resampled_means",
        "summarise_cosines",
    ),
    "search.faiss": ("FAISS_PAYS_FROM", "FaissIndex", "build_faiss_index"),
    "architectures.gru": ("GRUStack",),
    "inference.cosines": ("row_cosines",),
    "inference.predictor": ("Predictor",),
    "architectures.lstm": ("LSTMBaseline",),
    "search.exact": ("ExactIndex",),
    "devices.found": ("FoundDevice",),
    "devices.open": ("open_accelerator",),
    "inference.pipelined": ("PipelinedPredictor",),
    "devices.precision": ("Precision", "check_precision"),
    "search.screened": ("ScreenedIndex",),
    "registry.published_cards": ("PUBLISHED", "PublishedCard"),
    "training.recipes": ("Recipe", "recipe_for"),
    "evaluation.retrieval": ("Places", "RankSearch", "RetrievalSummary", "recall_curve", "summarise_ranks"),
    "training.ridge": ("RidgePredictor", "RidgeSums"),
    "registry.registry": ("DEFAULT_MODELS_DIR", "ROLES", "list_models", "named_model", "resolve_model"),
    "registry.role_log": ("RoleChange", "read_role_log"),
    "registry.roles": ("Held", "give_role", "holder"),
    "inference.routing": ("REASONS", "cap", "escalation_reasons", "shadow_rows"),
    "evaluation.threshold_search": ("Recovery", "find_thresholds", "recoveries"),
    "inference.thresholds": ("HIGH_STAKES_LANES", "Thresholds"),
    "training.training": ("Epoch", "History", "Training"),
    "architectures.transformer": ("TransformerPredictor",),
    "training.windows": ("Windows",),
}
_MODULE_OF = {name: module for module, names in _NAMES_IN.items() for name in names}

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_MODELS_DIR",
    "DEVICES",
    "FAISS_PAYS_FROM",
    "HIGH_STAKES_LANES",
    "PRESETS",
    "PUBLISHED",
    "REASONS",
    "ROLES",
    "Accelerator",
    "ArchitectureError",
    "AttentionMixerNetwork",
    "AttentionMixtureNetwork",
    "BankError",
    "CalibrationRows",
    "Checkpoint",
    "CheckpointError",
    "ContextModel",
    "CosineSummary",
    "DeviceError",
    "Epoch",
    "ExactIndex",
    "FaissIndex",
    "FoundDevice",
    "GRUStack",
    "Held",
    "History",
    "LSTMBaseline",
    "MissingExtra",
    "ModelError",
    "PipelinedPredictor",
    "Places",
    "Precision",
    "Predictor",
    "PublishedCard",
    "RankSearch",
    "Recipe",
    "Recovery",
    "RetrievalSummary",
    "RidgePredictor",
    "RidgeSums",
    "RoleChange",
    "ScreenedIndex",
    "Thresholds",
    "Training",
    "TransformerPredictor",
    "Windows",
    "begin_at_ridge",
    "build_faiss_index",
    "build_model",
    "cap",
    "check_precision",
    "escalation_reasons",
    "find_device",
    "find_thresholds",
    "give_role",
    "holder",
    "interval",
    "list_models",
    "load_checkpoint",
    "mean_squared_error",
    "named_model",
    "open_accelerator",
    "pick_device",
    "read_role_log",
    "recall_curve",
    "recipe_for",
    "recoveries",
    "resampled_means",
    "resolve_model",
    "row_cosines",
    "save_checkpoint",
    "set_threads",
    "shadow_rows",
    "summarise_cosines",
    "summarise_ranks",
]


def __getattr__(name: str) -> object:
    """Import a public name's module on first use (PEP 562)."""
    if name not in _MODULE_OF:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
