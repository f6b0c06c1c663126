"""How a model begins its training: near the mean of the context.

The one rule: before the first step a model already predicts about what the mean of the context would, which a
few thousand windows are too few to teach it. Without this, a GRU trained on 1,750 windows stays 0.07 in
cosine under that mean; with it, it begins above. Does not know targets or optimisers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.gru import GRUStack

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lvm_batch.lvm.context_model import ContextModel

_SAMPLE = 8192  # contexts a beginning is fitted on, at most
_SHRINKAGE = 0.1  # of the ridge regression, as a share of the mean variance of a feature
_KEEP = 0.9  # update gate: what a state keeps of itself at a step; 5 steps then weigh 0.66 to 1
_INPUT_RMS = 0.022  # of a state's input, which goes on beside the average and is to be small against it
_FIRST_GAIN, _LATER_GAIN = 16.0, 0.3  # candidates stay in the straight part of tanh
_RECURRENT_GAIN = 0.1  # of a candidate's own recurrence, which would blur the average


@torch.no_grad()
def begin_near_mean(model: ContextModel, contexts: Tensor) -> None:
    """Set the model's weights, in place, so that it predicts about the mean of a context (n, length, dim) of
    such data.

    A model that adds to a mean gets an output layer of zeros. Any other gets an output layer fitted by ridge
    regression, and a GRU before that states that are running averages.
    """
    if model.adds_to_mean:
        model.output_layer.weight.zero_()
        model.output_layer.bias.zero_()
        return
    sample = contexts[:: math.ceil(len(contexts) / _SAMPLE)].to(model.output_layer.weight.device)
    if isinstance(model, GRUStack):
        _average_in_states(model, sample)
    _fit_output_layer(model, sample)


def _average_in_states(model: GRUStack, contexts: Tensor) -> None:
    """Make each state a running average of what comes in, in the principal directions of the contexts.

    A high bias of the update gate for long memory is the chrono initialisation of Tallec and Ollivier 2018.
    """
    vectors = contexts.flatten(0, 1)  # (n * L, D)
    _, axes = torch.linalg.eigh(vectors.T @ vectors)  # (D, D), its columns from the least to the greatest
    directions = axes.T.flip(0)[: model.input_proj.out_features]
    rms = (vectors @ directions.T).square().mean().sqrt()
    model.input_proj.weight.zero_()  # states beyond the vectors' width take in nothing yet
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


def _fit_output_layer(model: ContextModel, contexts: Tensor) -> None:
    """Fit the output layer so that it gives the mean of the context, by ridge regression on what reaches
    it.
    """
    features = _reaching_output(model, contexts)  # (n, d)
    means = contexts.mean(dim=1)  # (n, D)
    centre, level = features.mean(dim=0), means.mean(dim=0)
    spread = features - centre
    gram = spread.T @ spread  # (d, d)
    gram.diagonal().add_(_SHRINKAGE * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, spread.T @ (means - level))  # (d, D)
    model.output_layer.weight.copy_(weight.T)
    model.output_layer.bias.copy_(level - centre @ weight)


def _reaching_output(model: ContextModel, contexts: Tensor) -> Tensor:
    """Return the output layer's input for each context, (n, d)."""
    seen: list[Tensor] = []
    hook = model.output_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model.eval()
        for rows in torch.split(contexts, 1024):
            model(rows)
    finally:
        hook.remove()
    return torch.cat(seen)
