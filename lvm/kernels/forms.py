"""The form in which a model computes on a device.

The rule: a form predicts what its model predicts, to 1e-6 in float32 and to the rounding of other precisions; a
precision that the model or the device lacks is refused. A model without a fast form computes as it is.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.architectures.amn import AttentionMixtureNetwork
from lvm_batch.lvm.architectures.context_model import unit_vectors
from lvm_batch.lvm.architectures.gru import GRUStack
from lvm_batch.lvm.devices.precision import DTYPES, check_precision
from lvm_batch.lvm.errors import ArchitectureError
from lvm_batch.lvm.kernels.amn_packed import PackedAMN
from lvm_batch.lvm.kernels.bf16_linear import Bf16Linear
from lvm_batch.lvm.kernels.gru_packed import PackedGRU
from lvm_batch.lvm.kernels.int8_linear import Int8Linear, check_int8
from lvm_batch.lvm.kernels.packed_linear import PackedLinear

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.devices.precision import Precision
    from lvm_batch.lvm.kernels.packed_linear import LinearForm

    Form = Callable[[Tensor], Tensor]

FAST_FORMS: dict[type[ContextModel], Callable[[Any, type[LinearForm]], Form]] = {
    AttentionMixtureNetwork: PackedAMN,
    GRUStack: PackedGRU,
}
"""The models that have a fast form on a CPU, which is made of the model and the form of its linear layers."""

_LINEAR_FORMS: dict[Precision, type[LinearForm]] = {
    "fp32": PackedLinear,
    "bf16": Bf16Linear,
    "int8": Int8Linear,
}


def build_form(model: ContextModel, device: torch.device, precision: Precision) -> Form:
    """Move a model to a device and return its fastest form there, which maps contexts to predictions.

    Raises ``DeviceError`` if the device or this processor lacks the precision, ``ArchitectureError`` if the model does.
    """
    form = _fastest_form(model, device, precision)
    return UnitInputs(form) if model.unit_inputs and form is not model else form


def _fastest_form(model: ContextModel, device: torch.device, precision: Precision) -> Form:
    """Return the fastest form of a model, for vectors in the norm that the model knows."""
    check_precision(precision, device)
    if precision == "int8":
        check_int8()
    model = model.eval()
    fast = FAST_FORMS.get(type(model)) if device.type == "cpu" else None
    if fast is not None:
        return fast(model.to(device), _LINEAR_FORMS[precision])
    if precision == "int8":
        raise ArchitectureError(f"{type(model).__name__} runs in float32 only", "use --precision fp32")
    return HalfForm(model, device, DTYPES[precision]) if precision in DTYPES else model.to(device)


class UnitInputs:
    """A form that makes unit vectors of a context's before anything rounds them."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def __call__(self, context: Tensor) -> Tensor:
        """Map (batch, length, dim) to (batch, dim), unit norm."""
        return self._form(unit_vectors(context))


class HalfForm:
    """A model with weights and activations of 16 bits; it normalises and returns predictions in float32."""

    def __init__(self, model: ContextModel, device: torch.device, dtype: torch.dtype) -> None:
        self._model = copy.deepcopy(model).to(device, dtype)
        self._dtype = dtype

    def __call__(self, context: Tensor) -> Tensor:
        """Map (batch, length, dim) of any float type to float32 (batch, dim)."""
        return F.normalize(self._model.direction(context.to(self._dtype)).float(), dim=-1)
