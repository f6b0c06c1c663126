"""Models, checkpoints, inference, routing, neighbour search and training.

The one rule: importing this room imports neither torch nor numpy; each public name brings its module on first
use. Knows torch and numpy; does not know Parquet, Dask, or the command.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvm_batch.lvm.accelerators import Accelerator, open_accelerator
    from lvm_batch.lvm.amn import AttentionMixtureNetwork
    from lvm_batch.lvm.amn_mixer import AttentionMixerNetwork
    from lvm_batch.lvm.architectures import ARCHITECTURES, PRESETS, build_model
    from lvm_batch.lvm.beginnings import begin_at_ridge
    from lvm_batch.lvm.calibration import CalibrationRows
    from lvm_batch.lvm.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from lvm_batch.lvm.context_model import ContextModel
    from lvm_batch.lvm.cosines import row_cosines
    from lvm_batch.lvm.devices import DEVICES, find_device, pick_device, set_threads
    from lvm_batch.lvm.errors import (
        ArchitectureError,
        BankError,
        CheckpointError,
        DeviceError,
        MissingExtra,
        ModelError,
    )
    from lvm_batch.lvm.evaluation import (
        CosineSummary,
        interval,
        mean_squared_error,
        resampled_means,
        summarise_cosines,
    )
    from lvm_batch.lvm.faiss_index import FAISS_PAYS_FROM, FaissIndex, build_faiss_index
    from lvm_batch.lvm.found_device import FoundDevice
    from lvm_batch.lvm.gru import GRUStack
    from lvm_batch.lvm.inference import Predictor
    from lvm_batch.lvm.lstm import LSTMBaseline
    from lvm_batch.lvm.neighbours import ExactIndex
    from lvm_batch.lvm.pipelined import PipelinedPredictor
    from lvm_batch.lvm.precision import Precision, check_precision
    from lvm_batch.lvm.published import PUBLISHED, PublishedCard
    from lvm_batch.lvm.recipes import Recipe, recipe_for
    from lvm_batch.lvm.registry import DEFAULT_MODELS_DIR, ROLES, list_models, named_model, resolve_model
    from lvm_batch.lvm.retrieval import Places, RankSearch, RetrievalSummary, recall_curve, summarise_ranks
    from lvm_batch.lvm.ridge import RidgePredictor, RidgeSums
    from lvm_batch.lvm.role_log import RoleChange, read_role_log
    from lvm_batch.lvm.roles import Held, give_role, holder
    from lvm_batch.lvm.routing import REASONS, cap, escalation_reasons, shadow_rows
    from lvm_batch.lvm.screened_search import ScreenedIndex
    from lvm_batch.lvm.threshold_search import Recovery, find_thresholds, recoveries
    from lvm_batch.lvm.thresholds import HIGH_STAKES_LANES, Thresholds
    from lvm_batch.lvm.training import Epoch, History, Training
    from lvm_batch.lvm.transformer import TransformerPredictor
    from lvm_batch.lvm.windows import Windows

_NAMES_IN = {
    "accelerators": ("Accelerator", "open_accelerator"),
    "amn": ("AttentionMixtureNetwork",),
    "amn_mixer": ("AttentionMixerNetwork",),
    "architectures": ("ARCHITECTURES", "PRESETS", "build_model"),
    "beginnings": ("begin_at_ridge",),
    "calibration": ("CalibrationRows",),
    "checkpoint": ("Checkpoint", "load_checkpoint", "save_checkpoint"),
    "context_model": ("ContextModel",),
    "devices": ("DEVICES", "find_device", "pick_device", "set_threads"),
    "errors": (
        "ArchitectureError",
        "BankError",
        "CheckpointError",
        "DeviceError",
        "MissingExtra",
        "ModelError",
    ),
    "evaluation": (
        "CosineSummary",
        "interval",
        "mean_squared_error",
        "resampled_means",
        "summarise_cosines",
    ),
    "faiss_index": ("FAISS_PAYS_FROM", "FaissIndex", "build_faiss_index"),
    "gru": ("GRUStack",),
    "cosines": ("row_cosines",),
    "inference": ("Predictor",),
    "lstm": ("LSTMBaseline",),
    "neighbours": ("ExactIndex",),
    "found_device": ("FoundDevice",),
    "pipelined": ("PipelinedPredictor",),
    "precision": ("Precision", "check_precision"),
    "screened_search": ("ScreenedIndex",),
    "published": ("PUBLISHED", "PublishedCard"),
    "recipes": ("Recipe", "recipe_for"),
    "retrieval": ("Places", "RankSearch", "RetrievalSummary", "recall_curve", "summarise_ranks"),
    "ridge": ("RidgePredictor", "RidgeSums"),
    "registry": ("DEFAULT_MODELS_DIR", "ROLES", "list_models", "named_model", "resolve_model"),
    "role_log": ("RoleChange", "read_role_log"),
    "roles": ("Held", "give_role", "holder"),
    "routing": ("REASONS", "cap", "escalation_reasons", "shadow_rows"),
    "threshold_search": ("Recovery", "find_thresholds", "recoveries"),
    "thresholds": ("HIGH_STAKES_LANES", "Thresholds"),
    "training": ("Epoch", "History", "Training"),
    "transformer": ("TransformerPredictor",),
    "windows": ("Windows",),
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
