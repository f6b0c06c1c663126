"""The form in which the stack of gated recurrent units is trained on a CPU.

The rule: predictions and gradients are the stack's, to 1e-6 in float32. It skips the product of the first step's state,
which is zero, forwards and backwards, and multiplies the gradients of all steps with the inputs and states at once.

With r, z, n as in ``kernels.gru_packed``, and a dot for the gradient of the loss::

    n' = (1 - z) h'                z' = h' (h_before - n)         r' = n'' hidden_n
    n'' = n' (1 - n²)              z'' = z' z (1 - z)             r'' = r' r (1 - r)

where '' is the gradient of a gate before its activation, and hidden_n is W_hn h + b_hn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.architectures.gru import GRUBlock, GRUStack


class GRUForm:
    """The stack over its own weights; steps are laid out as (length, batch, d)."""

    def __init__(self, model: GRUStack) -> None:
        self._model = model

    def direction(self, context: Tensor) -> Tensor:
        """Map (batch, length, dim) to predictions that are not normalised, (batch, dim)."""
        steps = self._model.input_proj(context.transpose(0, 1).contiguous())  # (L, B, d)
        *before, last = (cast("GRUBlock", block) for block in self._model.blocks)
        for block in before:
            steps = block.norm(steps + _states(block, steps))
        state = last.norm(steps[-1] + _states(last, steps)[-1])  # (B, d)
        return self._model.output_proj(state)  # type: ignore[no-any-return]


def _states(block: GRUBlock, steps: Tensor) -> Tensor:
    """Return the hidden state after each of ``steps``; both are (length, batch, d)."""
    states: Tensor = _Recurrence.apply(steps, *block.gru.all_weights[0])  # type: ignore[no-untyped-call]
    return states


class _Recurrence(torch.autograd.Function):
    """One recurrent layer; it multiplies in the type of its inputs."""

    @staticmethod
    def forward(ctx: Any, steps: Tensor, *weights: Tensor) -> Tensor:  # noqa: ANN401 - as torch declares it
        """Return the state after each of ``steps``, (length, batch, d); ``weights`` are those of ``nn.GRU``."""
        length, n_rows, d = steps.shape
        of_input, of_state, input_bias, state_bias = (weight.to(steps.dtype) for weight in weights)
        gates = torch.addmm(input_bias, steps.view(-1, d), of_input.t()).view(length, n_rows, 3 * d)
        hidden = torch.empty_like(gates)
        hidden[0] = state_bias
        states = steps.new_zeros(length + 1, n_rows, d)  # the first is the state before the first step
        for step in range(length):
            if step:
                torch.addmm(state_bias, states[step], of_state.t(), out=hidden[step])
            _step_forwards(gates[step], hidden[step], states[step], out=states[step + 1])
        ctx.save_for_backward(steps, gates, hidden, states, of_input, of_state)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *of_states: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        """Return the gradients of ``steps`` and of the weights from those of the states."""
        steps, gates, hidden, states, of_input, of_state = ctx.saved_tensors
        length, _, d = steps.shape
        inputs, recurrent = torch.empty_like(gates), torch.empty_like(gates)
        passed_on = torch.zeros_like(states[0])  # from a state to the one before it
        for step in reversed(range(length)):
            gradient = of_states[0][step] + passed_on
            _step_backwards(
                gradient, gates[step], hidden[step], states[step], out=(inputs[step], recurrent[step])
            )
            if step:
                kept = gradient * _gate(gates[step], 1)
                passed_on = torch.addmm(kept, recurrent[step], of_state)
        inputs, later = inputs.view(-1, 3 * d), recurrent[1:].view(-1, 3 * d)
        return (
            (inputs @ of_input).view_as(steps),
            inputs.t() @ steps.view(-1, d),
            later.t() @ states[1:-1].view(-1, d),
            inputs.sum(dim=0),
            recurrent.sum(dim=(0, 1)),
        )


def _step_forwards(gates: Tensor, hidden: Tensor, state: Tensor, *, out: Tensor) -> None:
    """Compute the state after ``state`` into ``out``; ``gates`` (batch, 3 d) get the values of r, z and n."""
    d = state.shape[1]
    gates[:, : 2 * d].add_(hidden[:, : 2 * d]).sigmoid_()
    candidate = _gate(gates, 2).addcmul_(_gate(gates, 0), _gate(hidden, 2)).tanh_()
    torch.lerp(candidate, state, _gate(gates, 1), out=out)


def _step_backwards(
    gradient: Tensor, gates: Tensor, hidden: Tensor, state: Tensor, *, out: tuple[Tensor, Tensor]
) -> None:
    """Compute the gradients of the products of inputs and of states, (batch, 3 d) each, from that of a new state."""
    inputs, recurrent = out
    d = state.shape[1]
    reset, update, candidate = (_gate(gates, number) for number in range(3))
    of_reset, of_update, of_candidate = (_gate(inputs, number) for number in range(3))
    tanh_backward(torch.addcmul(gradient, gradient, update, value=-1), candidate, grad_input=of_candidate)
    sigmoid_backward(of_candidate * _gate(hidden, 2), reset, grad_input=of_reset)
    sigmoid_backward(gradient * (state - candidate), update, grad_input=of_update)
    recurrent[:, : 2 * d] = inputs[:, : 2 * d]
    torch.mul(of_candidate, reset, out=_gate(recurrent, 2))


def _gate(gates: Tensor, number: int) -> Tensor:
    """Return one of three gates (batch, 3 d) that are side by side: reset, update, candidate."""
    d = gates.shape[1] // 3
    return gates[:, number * d : (number + 1) * d]


sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input
