"""Products on oneDNN, by operators that torch's own compiler emits and that have no public name.

The rule: an operator is used only if a tiny product by it equals the plain one, which is tested once a process. A build
of torch that lacks one, or whose operator has another signature or meaning, computes by public operators instead.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Activation = Literal["none", "gelu"]

STEPS = 127.0
"""The steps from zero to the largest value of a row or of an output's weights, in 8 bits."""

ZERO = 128
"""What is added to 8-bit rows: processors multiply unsigned by signed."""

_USUAL_ROWS = 256  # oneDNN lays weights out for about that many rows, and accepts any number
_ROWS, _IN, _OUT = 3, 64, 5  # of the tiny product; 64 numbers of 8 bits fill the widest registers

_ABSENT_OR_CHANGED = (AttributeError, RuntimeError, TypeError)
"""What torch raises for an operator that is missing, is not built in, or takes other arguments."""


def pack_weight(weight: Tensor) -> Tensor:
    """Return a weight (out, in), contiguous, float32 or bfloat16, as oneDNN lays it out."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight.default(weight, _USUAL_ROWS)  # noqa: SLF001
    return packed


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Tensor:
    """Return the product of rows with a packed weight of the same type, (rows, out), also of that type."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, activation, [], "none")  # noqa: SLF001
    return product


def pack_int8(weight: Tensor) -> Tensor:
    """Return an int8 weight (out, in) as oneDNN lays it out."""
    packed: Tensor = torch.ops.onednn.qlinear_prepack.default(weight, [_USUAL_ROWS, weight.shape[1]])
    return packed


def multiply_int8(rows: Tensor, weight: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """Return the product of uint8 rows, which stand for a largest value of one, with a packed weight.

    ``scales`` (out,) are what a step of each output's weight is worth, ``zeros`` (out,) int32 zeros; returns float32
    (rows, out).
    """
    multiply = torch.ops.onednn.qlinear_pointwise.default
    columns = (weight, scales, zeros)
    product: Tensor = multiply(rows, 1 / STEPS, ZERO, *columns, None, 1.0, 0, torch.float32, "none", [], "")
    return product


@cache
def packs(dtype: torch.dtype) -> bool:
    """Return whether weights of float32 or bfloat16 can be packed here, and give the plain product."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    rows, weight = _numbers(_ROWS, _IN).to(dtype), _numbers(_OUT, _IN).to(dtype)
    bias = _numbers(_OUT).to(dtype)
    expected = F.gelu(F.linear(rows.double(), weight.double(), bias.double()))
    return _gives(expected, lambda: multiply(rows, pack_weight(weight), bias, "gelu"))


@cache
def packs_int8() -> bool:
    """Return whether 8-bit integers can be packed here, and give the plain product.

    The numbers are too small for the sums that an old processor cuts to 16 bits.
    """
    rows, weight = _numbers(_ROWS, _IN).to(torch.int8), _numbers(_OUT, _IN).to(torch.int8)
    scales, zeros = torch.full((_OUT,), 2.0), torch.zeros(_OUT, dtype=torch.int32)
    unsigned = (rows.int() + ZERO).to(torch.uint8)
    expected = F.linear(rows.double(), weight.double()) * 2.0 / STEPS
    return _gives(expected, lambda: multiply_int8(unsigned, pack_int8(weight), scales, zeros))


def plain_precisions() -> tuple[str, ...]:
    """Return the precisions that this build of torch computes by public operators, which take longer.

    bfloat16 is none of them: whether it gains anything is a question for ``precision.multiplies_bf16``.
    """
    return tuple(
        name for name, packed in (("fp32", packs(torch.float32)), ("int8", packs_int8())) if not packed
    )


def _gives(expected: Tensor, compute: Callable[[], Tensor]) -> bool:
    try:
        found = compute()
        return found.shape == expected.shape and torch.allclose(
            found.double(), expected, rtol=1e-2, atol=1e-2
        )
    except _ABSENT_OR_CHANGED:
        return False


def _numbers(*shape: int) -> Tensor:
    """Return whole numbers from -3 to 3, which every type holds exactly."""
    count = int(torch.Size(shape).numel())
    return (torch.arange(count) * 5 % 7 - 3).float().view(shape)
