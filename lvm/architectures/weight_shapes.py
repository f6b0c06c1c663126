"""How each architecture is recognised and measured by the names and shapes of its weights.

The rule: dimensions come from the shapes of the weights; a stored configuration supplies only what no shape shows, the
number of attention heads. Shapes need no torch, so that a file can be measured before torch is loaded.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Weights = Mapping[str, "Shaped"]
    StoredConfig = Mapping[str, object]
    Dimensions = dict[str, int]

USUAL_LENGTH = 5
"""The vectors in a context of a model whose file says nothing else."""


class Shaped(Protocol):
    """Something with a shape: a tensor, or what a file says of one."""

    @property
    def shape(self) -> Sequence[int]:
        """Its sizes along each axis."""


@dataclass(frozen=True)
class WeightShapes:
    """One architecture's weights: a prefix that only their keys have, and a function that reads its dimensions.

    ``dimensions`` returns the constructor's arguments from weights and a stored configuration. It raises KeyError,
    IndexError, TypeError or ValueError if the weights do not have the expected form. ``buffers`` are keys beside the
    trainable weights. If the model ``learns_positions``, it has one for each vector of a context.
    """

    marker: str
    dimensions: Callable[[Weights, StoredConfig], Dimensions]
    buffers: frozenset[str] = frozenset()
    learns_positions: bool = False

    def n_parameters(self, weights: Weights) -> int:
        """Return the number of trainable values."""
        return sum(math.prod(value.shape) for key, value in weights.items() if key not in self.buffers)


def recognise(weights: Weights) -> str | None:
    """Return the name of the architecture whose keys these weights have, None if there is none."""
    for name, shapes in SHAPES.items():
        if any(key.startswith(shapes.marker) for key in weights):
            return name
    return None


def describe_markers() -> str:
    """Return the beginnings of keys by which architectures are recognised."""
    *most, last = (f"{each.marker}* ({name})" for name, each in SHAPES.items())
    return f"{', '.join(most)} or {last}"


def _amn(weights: Weights, _: StoredConfig) -> Dimensions:
    d_model, input_dim = weights["context_encoder.weight"].shape
    return {
        "input_dim": input_dim,
        "d_model": d_model,
        "hidden_dim": weights["residual_net.0.weight"].shape[0],
    }


def _amn_mixer(weights: Weights, config: StoredConfig) -> Dimensions:
    d_model, input_dim = weights["input_proj.weight"].shape
    return {
        "input_dim": input_dim,
        "hidden_dim": weights["blocks.0.mlp.0.weight"].shape[0],
        "output_dim": weights["output_proj.weight"].shape[0],
        "d_model": d_model,
        "num_layers": _n_layers(weights, "blocks"),
        "num_heads": _heads(config, "num_heads", d_model, default=4),
        "max_length": weights["position"].shape[0],
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
        "dim_feedforward": weights["transformer_decoder.layers.0.linear1.weight"].shape[0],
        "max_length": math.prod(weights["pos_encoder.pe"].shape) // d_model,
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


SHAPES = {
    "amn": WeightShapes("context_encoder.", _amn),
    "amn-mixer": WeightShapes("pool_query.", _amn_mixer, learns_positions=True),
    "gru": WeightShapes("blocks.0.gru.", _gru),
    "lstm": WeightShapes("lstm.", _lstm),
    "transformer": WeightShapes("transformer_decoder.", _transformer, frozenset({"pos_encoder.pe"})),
}
"""Every architecture's weights, by its name."""
