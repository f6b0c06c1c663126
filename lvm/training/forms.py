"""The form in which a model is trained on a device.

The rule: a form predicts what its model predicts and trains the model's own weights. Weights, gradients and the
optimiser's state are float32. On a CPU that multiplies bfloat16, matrices are rounded to it before they are multiplied,
and so are activations: that is twice as fast or more, for as good a model (tests/benchmarks/training.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.architectures.gru import GRUStack
from lvm_batch.lvm.devices.precision import multiplies_bf16
from lvm_batch.lvm.training.gru_form import GRUForm

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from lvm_batch.lvm.architectures.context_model import ContextModel

    Form = Callable[[Tensor], Tensor]


def training_form(model: ContextModel, device: torch.device) -> Form:
    """Return the fastest differentiable form of a model, on the device that it is on.

    It maps contexts (batch, length, dim) to predictions float32 (batch, dim) of unit norm, also within
    :func:`rounded_products`.
    """
    direction = model.direction
    if isinstance(model, GRUStack) and device.type == "cpu":
        direction = GRUForm(model).direction
    return lambda context: F.normalize(direction(context).float(), dim=-1)


def rounded_products(device: torch.device) -> torch.autocast:
    """Return a context within which products are bfloat16 where that pays, and that changes nothing elsewhere."""
    return torch.autocast("cpu", torch.bfloat16, enabled=device.type == "cpu" and multiplies_bf16())
