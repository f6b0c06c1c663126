"""Writes a model as a file of ONNX, which runs without torch and without this package.

The rule: nothing is written unless onnxruntime answers the sample's rows as torch does, to 1e-5 in each component. No
file is written over.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

from lvm_batch.io.storage.locations import read_file
from lvm_batch.jobs.console.text import as_lines
from lvm_batch.jobs.models.self_check import sample_contexts
from lvm_batch.jobs.registry.model_target import new_model_file, write_model_file
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.errors import CheckpointError
from lvm_batch.lvm.portable.onnx_model import onnx_bytes
from lvm_batch.lvm.registry.registry import named_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lvm_batch.jobs.registry.export_options import ExportOptions
    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint

    Floats = NDArray[np.float32]

_BOUND = 1e-5  # sums in another order change a component by 1e-7
_LOUDER = np.float32(3)  # a model that makes unit vectors of its contexts must answer longer ones alike
_DIGITS = 12


def export_onnx(name: str, options: ExportOptions, *, models_dir: Path) -> tuple[dict[str, Any], str]:
    """Write the model ``name`` as ONNX, as the ``options`` say; return values and text.

    ``name`` is a name in the registry, a role, a path or a URL. Raises ``UsageError``, ``OutputError``, ``DataError``
    or ``ModelError``; nothing is written then.
    """
    target, opset = options.output, options.opset
    place = new_model_file(target, (".onnx",))
    path = named_model(name, models_dir)
    checkpoint = load_checkpoint(read_file(path), path)
    model, facts = checkpoint.model, _facts(checkpoint)
    producer = ("lvm-batch", version("lvm-batch"))
    data = onnx_bytes(model, length=checkpoint.length, opset=opset, producer=producer, facts=facts)
    differs = check_parity(data, model, length=checkpoint.length, target=target)
    write_model_file(place, data)
    values = {
        "source": path,
        "path": str(place),
        "format": "onnx",
        "opset": opset,
        "architecture": checkpoint.architecture,
        "dim": checkpoint.dim,
        "context_length": checkpoint.length,
        "n_parameters": checkpoint.n_parameters,
        "bytes": len(data),
        "source_sha256": checkpoint.sha256,
        "largest_difference": differs,
    }
    return values, _text(values)


def _facts(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the metadata of the file."""
    return {
        "lvm_batch.version": version("lvm-batch"),
        "lvm_batch.architecture": checkpoint.architecture,
        "lvm_batch.dimensions": json.dumps(checkpoint.model.config),
        "lvm_batch.context_length": str(checkpoint.length),
        "lvm_batch.input_norm": "unit" if checkpoint.model.unit_inputs else "as it is",
        "lvm_batch.checkpoint_sha256": checkpoint.sha256,
    }


def check_parity(data: bytes, model: ContextModel, *, length: int, target: str) -> float:
    """Return the largest difference between the answers of onnxruntime and of torch to the sample's rows.

    Raises ``CheckpointError``, which says by how much and where, if it is more than 1e-5, or if onnxruntime cannot run
    the file.
    """
    contexts = sample_contexts(length=length, dim=model.dim)
    if model.unit_inputs:
        contexts = np.concatenate([contexts, _LOUDER * contexts])
    with torch.inference_mode():
        expected: Floats = model(torch.from_numpy(contexts)).numpy()
    differences = np.abs(_answers(data, contexts, target) - expected)
    row, component = np.unravel_index(np.argmax(np.nan_to_num(differences, nan=np.inf)), differences.shape)
    largest = float(differences[row, component])
    if largest <= _BOUND:
        return largest
    raise CheckpointError(
        f"{target} would be another model: onnxruntime {onnxruntime.__version__} answers row {row} of "
        f"{len(contexts)} of the sample with {largest:.2g} of difference from torch in component {component}, where "
        f"{_BOUND:g} is allowed",
        "report this, with the file" if np.isfinite(expected).all() else "take an earlier checkpoint",
    )


def _answers(data: bytes, contexts: Floats, target: str) -> Floats:
    """Return onnxruntime's answers, all rows at once but the first, which comes by itself."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it would print is in the error
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        parts = [session.run(["prediction"], {"context": rows})[0] for rows in (contexts[:1], contexts[1:])]
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{target}: onnxruntime {onnxruntime.__version__} cannot run it: {reason}",
            "give --opset an older operator set, or upgrade onnxruntime",
        ) from error
    return np.concatenate(parts)


def _text(values: Mapping[str, Any]) -> str:
    length, dim = values["context_length"], values["dim"]
    lines = {
        "written": f"{values['path']}, {values['bytes'] / 2**20:,.1f} MiB, ONNX opset {values['opset']}",
        "from": values["source"],
        "model": f"{values['architecture']}, {values['n_parameters']:,} parameters",
        "reads": f"context: float32 (rows, {length}, {dim})",
        "gives": f"prediction: float32 (rows, {dim}), unit norm",
        "sha256": f"{values['source_sha256'][:_DIGITS]} (of the checkpoint)",
        "checked": f"onnxruntime answers as torch does, to {values['largest_difference']:.1g}",
    }
    return as_lines(lines, width=9)
