"""The fast form of the stack of gated recurrent units on a CPU.

The rule: in float32 it predicts what the stack predicts, to 1e-6. It skips what ``nn.GRU`` computes in vain: the
product of the first step's hidden state, which is zero, and in the last block the norms of all steps but the last.

The gates are those of PyTorch's ``nn.GRU``, with r, z, n side by side in each weight::

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)      z likewise
    n = tanh(W_in x + b_in + r (W_hn h + b_hn))     h' = (1 - z) n + z h

torch's tanh takes six times as long as its sigmoid, so n is computed as 2 sigmoid(2 a) - 1 of the same sum a. The
doubling is in the weights, where it is exact in every precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.architectures.gru import GRUBlock, GRUStack
    from lvm_batch.lvm.kernels.packed_linear import LinearForm


class PackedGRU:
    """The whole stack on packed weights; steps are laid out as (length, batch, d)."""

    def __init__(self, model: GRUStack, form: type[LinearForm]) -> None:
        self._input = form.of(model.input_proj)
        self._blocks = [_PackedBlock(cast("GRUBlock", block), form) for block in model.blocks]
        self._output = form.of(model.output_proj)

    def __call__(self, context: Tensor) -> Tensor:
        """Map (batch, length, dim) to (batch, dim), unit norm."""
        n_rows, length, dim = context.shape
        steps = self._input(context.transpose(0, 1).reshape(-1, dim)).view(length, n_rows, -1)  # (L, B, d)
        *before, last = self._blocks
        for block in before:
            steps = block.norm(block.states(steps).add_(steps))
        state = last.norm(last.states(steps)[-1].add_(steps[-1]))  # (B, d)
        return F.normalize(self._output(state), dim=-1)


class _PackedBlock:
    """One recurrent layer: multiplies the inputs of all steps at once, and the states step by step."""

    def __init__(self, block: GRUBlock, form: type[LinearForm]) -> None:
        input_weight, state_weight, input_bias, state_bias = block.gru.all_weights[0]
        self.norm = block.norm
        doubled = _doubled_candidate(len(state_bias))
        self._state_bias = state_bias.detach() * doubled
        self._inputs = form(input_weight * doubled.unsqueeze(1), input_bias * doubled)
        self._states = form(state_weight * doubled.unsqueeze(1), self._state_bias)

    def states(self, steps: Tensor) -> Tensor:
        """Return the hidden state after each of ``steps``; both are (length, batch, d)."""
        length, n_rows, d = steps.shape
        gates = self._inputs(steps.view(-1, d)).view(length, n_rows, 3 * d)
        states = torch.empty_like(steps)
        _first_step(gates[0], self._state_bias, out=states[0])
        for step in range(1, length):
            _next_step(gates[step], self._states(states[step - 1]), states[step - 1], out=states[step])
        return states


def _doubled_candidate(n_gates: int) -> Tensor:
    """Return the factors of the gates' sums, (3 d,): two for the candidate, the last third, one for the others."""
    factors = torch.ones(n_gates)
    factors[2 * n_gates // 3 :] = 2
    return factors


def _first_step(inputs: Tensor, state_bias: Tensor, *, out: Tensor) -> None:
    """Compute the state after a state of zeros, into ``out``; overwrites ``inputs`` (batch, 3 d)."""
    d = out.shape[-1]
    reset, update = inputs[:, : 2 * d].add_(state_bias[: 2 * d]).sigmoid_().chunk(2, dim=1)
    candidate = _candidate(inputs[:, 2 * d :].addcmul_(reset, state_bias[2 * d :]))
    torch.addcmul(candidate, update, candidate, value=-1, out=out)


def _next_step(inputs: Tensor, hidden: Tensor, state: Tensor, *, out: Tensor) -> None:
    """Compute the state after ``state``, into ``out``; overwrites ``inputs`` and ``hidden``, (batch, 3 d) each."""
    d = out.shape[-1]
    reset, update = inputs[:, : 2 * d].add_(hidden[:, : 2 * d]).sigmoid_().chunk(2, dim=1)
    candidate = _candidate(inputs[:, 2 * d :].addcmul_(reset, hidden[:, 2 * d :]))
    torch.lerp(candidate, state, update, out=out)


def _candidate(doubled: Tensor) -> Tensor:
    """Overwrite doubled sums by the tanh of the sums."""
    return doubled.sigmoid_().mul_(2).sub_(1)
