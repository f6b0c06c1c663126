"""A graph of ONNX while it is built: operators in order, and the weights that they read.

The rule: a method adds what one layer of torch computes, and returns the name of its result. Only operators that mean
the same in every operator set since ``OLDEST_OPSET`` are used, so one graph serves all of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from torch import nn

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import GraphProto, NodeProto
    from torch import Tensor

OLDEST_OPSET = 17
"""The first operator set that has LayerNormalization; onnxruntime reads it since 1.12."""

_LEAST_NORM = 1e-12  # the default of torch's normalize


class AttentionShape(NamedTuple):
    """The heads of an attention, the steps that it reads, and the width of its queries, all heads together."""

    number: int
    length: int
    width: int


class Graph:
    """The operators and weights so far; tensors go by their names."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, n_outputs: int = 1, **attributes: Any) -> list[str]:  # noqa: ANN401
        """Append an operator; return the names of its outputs."""
        outputs = [f"{operator}_{len(self._nodes)}_{number}" for number in range(n_outputs)]
        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs

    def one(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        """Append an operator of one output; return its name."""
        return self.add(operator, *inputs, **attributes)[0]

    def weight(self, values: Tensor | npt.ArrayLike) -> str:
        """Keep an array, or a parameter of a model; return its name."""
        array = values.detach().numpy() if hasattr(values, "detach") else np.asarray(values)
        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def number(self, value: float) -> str:
        """Keep a float32; return its name."""
        return self.weight(np.float32(value))

    def places(self, *numbers: int) -> str:
        """Keep whole numbers, such as axes or a shape; return their name."""
        return self.weight(np.array(numbers, np.int64))

    def linear(self, x: str, weight: Tensor, bias: Tensor) -> str:
        """Multiply (…, in) by a weight (out, in), and add the bias."""
        return self.one("Add", self.one("MatMul", x, self.weight(weight.T)), self.weight(bias))

    def layer(self, x: str, layer: nn.Module) -> str:
        """Apply a layer of torch, or several in a row. Raises TypeError for one that no model here has."""
        if isinstance(layer, nn.Sequential):
            for part in layer:
                x = self.layer(x, part)
            return x
        if isinstance(layer, nn.Linear):
            return self.linear(x, layer.weight, layer.bias)
        if isinstance(layer, nn.LayerNorm):
            scale, shift = self.weight(layer.weight), self.weight(layer.bias)
            return self.one("LayerNormalization", x, scale, shift, axis=-1, epsilon=layer.eps)
        if isinstance(layer, nn.GELU):
            return self._gelu(x)
        raise TypeError(layer)

    def _gelu(self, x: str) -> str:
        """X (1 + erf(x / sqrt 2)) / 2, in the order of operators that onnxruntime knows as one."""
        erf = self.one("Erf", self.one("Div", x, self.number(math.sqrt(2))))
        return self.one("Mul", self.one("Mul", x, self.one("Add", erf, self.number(1))), self.number(0.5))

    def sum(self, x: str, axis: int, *, keep: bool = False) -> str:
        """Add along an axis, and keep it as one of length one if asked to."""
        return self.one("ReduceSum", x, self.places(axis), keepdims=int(keep))

    def softmax(self, scores: str, axis: int, *, scale: float) -> str:
        """Return the softmax along an axis of scores times ``scale``."""
        return self.one("Softmax", self.one("Mul", scores, self.number(scale)), axis=axis)

    def weighted(self, weights: str, x: str) -> str:
        """Add the steps of (batch, length, d), each times its weight (batch, length, 1)."""
        return self.sum(self.one("Mul", weights, x), 1)

    def attention(self, heads: AttentionShape, queries: str, keys: str, values: str, mask: str = "") -> str:
        """Return what each step reads from all others, (batch, length, d) like the arguments; a mask is added."""
        split = self.places(0, heads.length, heads.number, heads.width // heads.number)
        query, key, value = (self.one("Reshape", each, split) for each in (queries, keys, values))
        query, value = (self.one("Transpose", each, perm=[0, 2, 1, 3]) for each in (query, value))
        scores = self.one("MatMul", query, self.one("Transpose", key, perm=[0, 2, 3, 1]))  # (B, H, L, L)
        if mask:
            scores = self.one("Add", scores, mask)
        seen = self.one("MatMul", self.one("Softmax", scores, axis=-1), value)  # (B, H, L, d / H)
        steps = self.one("Transpose", seen, perm=[0, 2, 1, 3])
        return self.one("Reshape", steps, self.places(0, heads.length, heads.width))

    def norms(self, x: str) -> str:
        """Return the norms of the vectors (…, d), (…, 1)."""
        return self.one("Sqrt", self.sum(self.one("Mul", x, x), -1, keep=True))

    def normalised(self, x: str, norms: str = "") -> str:
        """Divide vectors (…, d) by their norms; vectors of zeros stay as they are."""
        return self.one("Div", x, self.one("Max", norms or self.norms(x), self.number(_LEAST_NORM)))

    def unit_vectors(self, context: str) -> str:
        """Do what `context_model.unit_vectors` does: a norm that overflows makes its vector NaN."""
        norms = self.norms(context)
        known = self.one("Where", self.one("IsInf", norms), self.number(math.nan), norms)
        return self.normalised(context, known)

    def nan_where_not_finite(self, result: str, context: str) -> str:
        """Make rows of a result (batch, d) NaN whose context (batch, length, d) has a NaN or an infinity.

        onnxruntime's recurrent operators cut NaN to a number (1.32), and would answer a row that cannot be answered.
        """
        nothing = self.one("Mul", context, self.number(0))  # NaN where it is not finite
        return self.one("Add", result, self.sum(self.sum(nothing, 2, keep=True), 1))

    def made(self, name: str, *, context: tuple[str, int, int], result: str) -> GraphProto:
        """Return the graph, from ``context`` to ``result`` under the name ``prediction``."""
        batch, _, dim = context
        last = helper.make_node("Identity", [result], ["prediction"])
        read = helper.make_tensor_value_info("context", TensorProto.FLOAT, context)
        written = helper.make_tensor_value_info("prediction", TensorProto.FLOAT, (batch, dim))
        return helper.make_graph([*self._nodes, last], name, [read], [written], self._weights)
