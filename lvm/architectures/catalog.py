"""The architectures by name, and how to build one.

The rule: an architecture is one class and the shapes of its weights (``weight_shapes``), under one name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.architectures.amn import AttentionMixtureNetwork
from lvm_batch.lvm.architectures.amn_mixer import AttentionMixerNetwork
from lvm_batch.lvm.architectures.gru import GRUStack
from lvm_batch.lvm.architectures.lstm import LSTMBaseline
from lvm_batch.lvm.architectures.transformer import TransformerPredictor
from lvm_batch.lvm.architectures.weight_shapes import SHAPES, WeightShapes, recognise
from lvm_batch.lvm.errors import ArchitectureError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.architectures.weight_shapes import Weights


@dataclass(frozen=True)
class Architecture:
    """One architecture: its name, its class, and the shapes of its weights."""

    name: str
    model_class: type[ContextModel]
    shapes: WeightShapes


ARCHITECTURES = {
    name: Architecture(name, model_class, SHAPES[name])
    for name, model_class in (
        ("amn", AttentionMixtureNetwork),
        ("amn-mixer", AttentionMixerNetwork),
        ("gru", GRUStack),
        ("lstm", LSTMBaseline),
        ("transformer", TransformerPredictor),
    )
}
"""Every architecture, by name."""


@dataclass(frozen=True)
class Preset:
    """An architecture in another size than its published checkpoint; ``dimensions`` are the constructor's arguments."""

    architecture: str
    dimensions: Mapping[str, int]


PRESETS = {
    "lstm-v0": Preset("lstm", {"hidden_dim": 576, "num_layers": 1}),
    "transformer-v0": Preset(
        "transformer", {"d_model": 320, "nhead": 8, "num_layers": 4, "dim_feedforward": 768}
    ),
}
"""The sizes that the v0 cards' table prints, by name: LSTM 3.5 M and 14.1 MB, Transformer 5.9 M and 23.7 MB.

Nothing else of their layout is published. One layer of 576 is the only LSTM whose width is a multiple of 64 and that
comes within 2 %: 3,544,320, 14.2 MB. Of several Transformers this one keeps the published four layers and eight heads,
which no shape of a weight shows, and is nearest to both figures: 5,861,120, 23.4 MB.
"""


def architecture_named(name: str) -> Architecture:
    """Return the architecture of that exact name, or of that preset. Raises ArchitectureError naming the nearest."""
    known = {
        **ARCHITECTURES,
        **{name: ARCHITECTURES[preset.architecture] for name, preset in PRESETS.items()},
    }
    if name in known:
        return known[name]
    hint = f"{did_you_mean(name, known, most=1)} known: {', '.join(known)}".lstrip()
    raise ArchitectureError(f"there is no architecture {name!r}", hint)


def match_model_type(spelling: str) -> Architecture | None:
    """Return the architecture that a stored ``model_type`` means: its name or class name in any case, or None."""
    folded = _fold(spelling)
    for architecture in ARCHITECTURES.values():
        if folded in {_fold(architecture.name), _fold(architecture.model_class.__name__)}:
            return architecture
    return None


def architecture_of(weights: Weights) -> Architecture | None:
    """Return the architecture whose keys these weights have, None if there is none."""
    name = recognise(weights)
    return None if name is None else ARCHITECTURES[name]


def build_model(name: str, *, seed: int, **dimensions: float) -> ContextModel:
    """Build a model on the CPU with fresh weights that depend on ``seed`` alone, without changing global random state.

    ``name`` names an architecture or a preset. ``dimensions`` override the constructor's arguments, which are otherwise
    the published ones or the preset's. Raises ArchitectureError for an unknown name.
    """
    model_class = architecture_named(name).model_class
    preset = PRESETS[name].dimensions if name in PRESETS else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(**{**preset, **dimensions})


def _fold(spelling: str) -> str:
    return re.sub(r"[^a-z0-9]", "", spelling.lower())
