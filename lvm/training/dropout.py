"""Dropout of features while a model is trained.

The rule: the architectures have no dropout, since it changes nothing in what a trained model predicts; a training adds
it to its model and takes it off again.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.architectures.amn import AttentionMixtureNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from lvm_batch.lvm.architectures.context_model import ContextModel


@contextmanager
def dropping(model: ContextModel, share: float) -> Iterator[None]:
    """Within it, a random share of the features that the last layers read is zero, and the rest are scaled up."""

    def drop(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return F.dropout(inputs[0], share)

    hooks = [layer.register_forward_pre_hook(drop) for layer in _last_layers(model)] if share else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _last_layers(model: ContextModel) -> list[nn.Module]:
    """Return the layers whose inputs are hidden features after a norm: AMN has two of them, other models one."""
    if isinstance(model, AttentionMixtureNetwork):
        return [model.residual_net[3], model.output_layer]
    return [model.output_layer]
