"""The fast form of the Attention Mixture Network on a CPU.

The rule: in float32 it predicts what the network predicts, to 1e-6. NumPy's einsum takes scores and mixture straight
from the context; torch would write products as large as the context to memory, and read them again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from lvm_batch.lvm.architectures.context_model import linear
from lvm_batch.lvm.kernels.amn_single import SingleAMN
from lvm_batch.lvm.kernels.bf16_linear import Bf16Linear
from lvm_batch.lvm.kernels.packed_linear import PackedLinear

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from lvm_batch.lvm.architectures.amn import AttentionMixtureNetwork
    from lvm_batch.lvm.kernels.packed_linear import LinearForm

    Floats = npt.NDArray[np.float32]


class PackedAMN:
    """Attention and residual net on packed weights; scores are computed without keys, as in the network.

    In float32 a single row goes to :class:`SingleAMN`.
    """

    def __init__(self, model: AttentionMixtureNetwork, form: type[LinearForm]) -> None:
        scale = 1 / math.sqrt(model.query_encoder.out_features)
        first, _, norm, second, _, second_norm, last = model.residual_net
        self._query = form.of(model.query_encoder)
        self._keys = form(model.context_encoder.weight.t() * scale)
        self._first = form.of(linear(first), activation="gelu")
        self._second = form.of(linear(second), activation="gelu")
        # Never in 8 bits, which would move confidence and margin by half as much again, and one route in 200.
        self._last = (PackedLinear if form is PackedLinear else Bf16Linear).of(linear(last))
        self._norms: tuple[nn.Module, nn.Module] = (norm, second_norm)
        self._single = SingleAMN(model) if form is PackedLinear else None

    def __call__(self, context: Tensor) -> Tensor:
        """Map (batch, length, dim) to (batch, dim), unit norm."""
        if self._single is not None and len(context) == 1:
            return self._single(context)
        vectors: Floats = context.numpy()
        dim = context.shape[2]
        both = torch.empty(len(context), 2 * dim)  # the mean and the mixture, side by side
        mean, mix = both[:, :dim], both[:, dim:]  # (B, D) each
        torch.mean(context, dim=1, out=mean)
        query = self._keys(self._query(mean))  # (B, D)
        scores = torch.from_numpy(np.einsum("bld,bd->bl", vectors, query.numpy()))
        np.einsum("bld,bl->bd", vectors, torch.softmax(scores, dim=1).numpy(), out=mix.numpy())
        hidden = self._norms[0](self._first(both))
        hidden = self._norms[1](self._second(hidden))
        direction = self._last(hidden).add_(mean)  # (B, D)
        return F.normalize(direction, dim=-1, out=direction)
