"""A model as a file of ONNX.

The rule: the file needs nothing beside it. It reads ``context``, float32 (batch, length, dim), any number of rows at
once, and writes ``prediction``, float32 (batch, dim) of unit norm. If the model reads unit vectors, the graph makes
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import checker, helper

from lvm_batch.lvm.errors import ArchitectureError
from lvm_batch.lvm.portable.graph import OLDEST_OPSET, Graph
from lvm_batch.lvm.portable.networks import add_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.lvm.architectures.context_model import ContextModel


def onnx_bytes(
    model: ContextModel, *, length: int, opset: int, producer: tuple[str, str], facts: Mapping[str, str]
) -> bytes:
    """Return the bytes of a file of ONNX for contexts of ``length`` vectors, in the operator set ``opset``.

    ``model`` is on the CPU, float32. ``producer`` is the name and the version of who writes it, ``facts`` its metadata.
    Raises ArchitectureError for an operator set, or a model, that there is no graph for.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise ArchitectureError(
            f"operator set {opset} of ONNX: models are written in {OLDEST_OPSET} to {newest} (onnx {onnx.__version__})",
            f"give --opset one of these; {OLDEST_OPSET} is read by most",
        )
    graph = Graph()
    read = graph.unit_vectors("context") if model.unit_inputs else "context"
    result = graph.normalised(add_network(graph, model, read, length=length))
    operators = helper.make_opsetid("", opset)
    name, version = producer
    made = helper.make_model(
        graph.made(type(model).__name__, context=("batch", length, model.dim), result=result),
        opset_imports=[operators],
        ir_version=helper.find_min_ir_version_for([operators]),  # a newer one is refused by older readers
        producer_name=name,
        producer_version=version,
    )
    helper.set_model_props(made, dict(facts))
    checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())
