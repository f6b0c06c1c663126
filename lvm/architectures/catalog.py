"""The architectures by name, and how to recognise and measure each from its weights.

The rule: dimensions come from the shapes of the weights; a stored configuration supplies only what no shape shows, the
number of attention heads.
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
from lvm_batch.lvm.errors import ArchitectureError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from lvm_batch.lvm.architectures.context_model import ContextModel

    Weights = Mapping[str, Tensor]
    StoredConfig = Mapping[str, object]
    Dimensions = dict[str, int]


@dataclass(frozen=True)
class Architecture:
    """One architecture: its class, a prefix that only its weights' keys have, and a function that reads its dimensions.

    ``dimensions`` returns the constructor's arguments from weights and a stored configuration. It raises KeyError,
    TypeError or ValueError if the weights do not have the expected form.
    """

    name: str
    model_class: type[ContextModel]
    marker: str
    dimensions: Callable[[Weights, StoredConfig], Dimensions]


def _amn(weights: Weights, _: StoredConfig) -> Dimensions:
    d_model, input_dim = weights["context_encoder.weight"].shape
    return {"input_dim": input_dim, "d_model": d_model, "hidden_dim": len(weights["residual_net.0.weight"])}


def _amn_mixer(weights: Weights, config: StoredConfig) -> Dimensions:
    d_model, input_dim = weights["input_proj.weight"].shape
    return {
        "input_dim": input_dim,
        "hidden_dim": len(weights["blocks.0.mlp.0.weight"]),
        "output_dim": len(weights["output_proj.weight"]),
        "d_model": d_model,
        "num_layers": _n_layers(weights, "blocks"),
        "num_heads": _heads(config, "num_heads", d_model, default=4),
        "max_length": len(weights["position"]),
    }


def _gru(weights: Weights, _: StoredConfig) -> Dimensions:
    d_model, input_dim = weights["input_proj.weight"].shape
    return {"input_dim": input_dim, "d_model": d_model, "num_layers": _n_layers(weights, "blocks")}


def _lstm(weights: Weights, _: StoredConfig) -> Dimensions:
    input_dim, hidden_dim = weights["output_proj.weight"].shape
    num_layers = sum(key.startswith("lstm.weight_hh_l") for key in weights)
    return {"input_dim": input_dim, "hidden_dim": hidden_dim, "num_layers": num_layers}


def _transformer(weights: Weights, config: StoredConfig) -> Dimensions:
    d_model, input_dim = weights["input_proj.weight"].shape
    return {
        "input_dim": input_dim,
        "d_model": d_model,
        "nhead": _heads(config, "nhead", d_model, default=8),
        "num_layers": _n_layers(weights, "transformer_decoder.layers"),
        "dim_feedforward": len(weights["transformer_decoder.layers.0.linear1.weight"]),
        "max_length": weights["pos_encoder.pe"].numel() // d_model,
    }


def _n_layers(weights: Weights, prefix: str) -> int:
    """Return the number of different N in the keys ``prefix.N.…``."""
    numbered = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return len({match[1] for key in weights if (match := numbered.match(key))})


def _heads(config: StoredConfig, key: str, d_model: int, *, default: int) -> int:
    """Return the stored number of heads, or the default. Raises ValueError if it does not divide the width."""
    stored = config.get(key, default)
    heads = stored if isinstance(stored, int) and stored > 0 else default
    if d_model % heads:
        message = f"{heads} attention heads do not divide a width of {d_model}"
        raise ValueError(message)
    return heads


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("amn", AttentionMixtureNetwork, "context_encoder.", _amn),
        Architecture("amn-mixer", AttentionMixerNetwork, "pool_query.", _amn_mixer),
        Architecture("gru", GRUStack, "blocks.0.gru.", _gru),
        Architecture("lstm", LSTMBaseline, "lstm.", _lstm),
        Architecture("transformer", TransformerPredictor, "transformer_decoder.", _transformer),
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
    for architecture in ARCHITECTURES.values():
        if any(key.startswith(architecture.marker) for key in weights):
            return architecture
    return None


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
