"""The initialisation of a model with ridge regression.

The rule: before its first step the model already predicts about the same as ridge regression, which training alone does
not reach from a few thousand windows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.architectures.gru import GRUStack

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.training.ridge import RidgePredictor

SAMPLE = 8192
"""The number of contexts for the fit; more change nothing."""

_SHRINKAGE = 0.03  # shrinkage of the last layer's fit, as a share of the mean variance of a feature
_KEEP = 0.8  # the share of a state that the update gate keeps at a step; 5 steps then weigh 0.41 to 1
_INPUT_RMS = 0.022  # size of a state's input, which passes on beside the average
_FIRST_GAIN, _LATER_GAIN = 4.0, 0.3  # keep candidates in the linear part of tanh
_RECURRENT_GAIN = 0.1  # of a candidate's own recurrence, which blurs the average


@torch.no_grad()
def start_at_ridge(model: ContextModel, contexts: Tensor, ridge: RidgePredictor) -> None:
    """Set the model's weights, in place, so that it predicts about the same as ``ridge`` on contexts (n, length, dim).

    The last layer is fitted to ``ridge`` on the features that the fresh layers before it compute. In a GRU those layers
    are set first, so that their states are running averages.
    """
    device = model.output_layer.weight.device
    contexts = contexts.to(device)
    if isinstance(model, GRUStack):
        _average_states(model, contexts)
    features, rest = _at_output_layer(model, contexts)
    wanted = ridge.to(device).direction(contexts)  # (n, D)
    _fit_output_layer(model.output_layer, features, wanted / _share(rest, wanted) - rest)


def _share(rest: Tensor, wanted: Tensor) -> Tensor:
    """Return the share of ``rest``, the part that a model adds its correction to, in the wanted predictions.

    Predictions are normalised, so that their scale is free; the scale of ``rest`` is not.
    """
    rest, wanted = rest - rest.mean(dim=0), wanted - wanted.mean(dim=0)
    size = rest.square().sum()
    return (rest * wanted).sum() / size if size > 0 else torch.ones_like(size)


def _average_states(model: GRUStack, contexts: Tensor) -> None:
    """Make each state a running average of its inputs, in the principal directions of the contexts.

    A high bias of the update gate for long memory is the chrono initialisation of Tallec and Ollivier 2018.
    """
    vectors = contexts.flatten(0, 1)  # (n * L, D)
    _, axes = torch.linalg.eigh(vectors.T @ vectors)  # (D, D), columns in ascending order
    directions = axes.T.flip(0)[: model.input_proj.out_features]
    rms = (vectors @ directions.T).square().mean().sqrt()
    model.input_proj.weight.zero_()  # states beyond the vectors' width have no input yet
    model.input_proj.weight[: len(directions)] = _INPUT_RMS / rms * directions
    model.input_proj.bias.zero_()
    for number, block in enumerate(model.blocks):
        _average(block.gru, _LATER_GAIN if number else _FIRST_GAIN)  # type: ignore[arg-type]


def _average(gru: nn.GRU, gain: float) -> None:
    """Set h = keep·h + (1 - keep)·tanh(gain·x); torch's order of gates is reset, update, candidate."""
    d_model = gru.hidden_size
    update, candidate = slice(d_model, 2 * d_model), slice(2 * d_model, None)
    weights = dict(gru.named_parameters())
    weights["bias_ih_l0"][update] += math.log(_KEEP / (1 - _KEEP))
    torch.nn.init.eye_(weights["weight_ih_l0"][candidate]).mul_(gain)
    weights["weight_hh_l0"][candidate] *= _RECURRENT_GAIN
    weights["bias_ih_l0"][candidate] = 0.0
    weights["bias_hh_l0"][candidate] = 0.0


def _fit_output_layer(layer: nn.Linear, features: Tensor, wanted: Tensor) -> None:
    """Fit a layer that maps ``features`` (n, d) to ``wanted`` (n, D), by ridge regression."""
    centre, level = features.mean(dim=0), wanted.mean(dim=0)
    spread = features - centre
    gram = spread.T @ spread  # (d, d)
    gram.diagonal().add_(_SHRINKAGE * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, spread.T @ (wanted - level))  # (d, D)
    layer.weight.copy_(weight.T)
    layer.bias.copy_(level - centre @ weight)


def _at_output_layer(model: ContextModel, contexts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output layer's inputs, (n, d), and the part that the model adds its outputs to, (n, D)."""
    seen: list[tuple[Tensor, Tensor]] = []
    hook = model.output_layer.register_forward_hook(
        lambda _, inputs, output: seen.append((inputs[0], output))
    )
    try:
        model.eval()
        directions = [model.direction(rows) for rows in torch.split(contexts, 1024)]
    finally:
        hook.remove()
    features, outputs = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return features, torch.cat(directions) - outputs
