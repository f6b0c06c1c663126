"""Checkpoints in production's form, a ``torch.save`` dict around the weights, and as safetensors files.

The rule: the weights decide what a file is; what the file says about itself must agree with them.
"""

from __future__ import annotations

import hashlib
import math
import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.architectures.catalog import (
    Architecture,
    architecture_named,
    architecture_of,
    match_model_type,
)
from lvm_batch.lvm.architectures.weight_shapes import describe_markers
from lvm_batch.lvm.checkpoints.checkpoint_files import content_bytes, read_content, write_durably
from lvm_batch.lvm.checkpoints.file_kinds import RESAVE
from lvm_batch.lvm.checkpoints.pickle_check import printable
from lvm_batch.lvm.checkpoints.state_dicts import describe_prefixes, extract_state_dict, summarise
from lvm_batch.lvm.checkpoints.stored_settings import (
    CONTEXT_LENGTH,
    INPUT_NORM,
    UNIT,
    context_length,
    reads_unit_vectors,
    stored_config,
)
from lvm_batch.lvm.checkpoints.training_vectors import CONTENT_KEY, TrainingVectors
from lvm_batch.lvm.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from lvm_batch.lvm.architectures.context_model import ContextModel

_MAX_SHARING = 4  # tied layers share their values


@dataclass(frozen=True)
class Checkpoint:
    """A model ready for inference, and what its file says about it.

    ``model`` is in eval mode, float32, on the CPU. ``dim`` is the width of its vectors, ``length`` their number in the
    contexts that it was trained on, 5 if the file does not say. ``sha256`` is the hex digest of the file's bytes,
    ``name`` the caller's name for it. ``epoch``, ``val_cosine`` and ``training_vectors``, the digest of what it was
    trained on, are None if the file has none.
    """

    architecture: str
    model: ContextModel
    dim: int
    length: int
    n_parameters: int
    sha256: str
    name: str
    epoch: int | None
    val_cosine: float | None
    training_vectors: TrainingVectors | None = None


def load_checkpoint(data: bytes, name: str) -> Checkpoint:
    """Load a checkpoint, or a bare state dict, from a file's bytes; ``name`` is its name in errors, such as its path.

    The keys of the weights decide the architecture, their shapes its dimensions. Raises CheckpointError if the file is
    damaged, would run code, has no known architecture, or contradicts itself.
    """
    content = read_content(data, name)
    weights = _weights(content, name, n_bytes=len(data))
    architecture = _architecture(content, weights, name)
    model = _model(architecture, weights, content, name)
    model.unit_inputs = reads_unit_vectors(content)
    return Checkpoint(
        architecture=architecture.name,
        model=model,
        dim=model.dim,
        length=_length(architecture, model, content, name),
        n_parameters=model.n_parameters,
        sha256=hashlib.sha256(data).hexdigest(),
        name=name,
        epoch=epoch if isinstance(epoch := content.get("epoch"), int) else None,
        val_cosine=_finite(content.get("val_cosine")),
        training_vectors=_training_vectors(content, model.dim, name),
    )


def _training_vectors(content: Mapping[str, object], dim: int, name: str) -> TrainingVectors | None:
    """Return the digest that the file keeps; raises CheckpointError if it is damaged or of another width."""
    hint = f"check where the file comes from; without its {CONTENT_KEY} it can be loaded"
    try:
        found = TrainingVectors.from_content(content.get(CONTENT_KEY))
    except ValueError as error:
        raise CheckpointError(f"{name}: {error}", hint) from error
    if found is not None and found.dim != dim:
        raise CheckpointError(
            f"{name}: the vectors that it was trained on have {found.dim} components, but its weights read {dim}",
            hint,
        )
    return found


def _length(architecture: Architecture, model: ContextModel, content: Mapping[str, object], name: str) -> int:
    """Return the length of the contexts; raises CheckpointError if the model has no positions for them."""
    try:
        return context_length(content, model.config, learns_positions=architecture.shapes.learns_positions)
    except ValueError as error:
        raise CheckpointError(
            f"{name}: {error}", "one of the two is wrong: check where the file comes from"
        ) from error


def _finite(value: object) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None


def save_checkpoint(
    path: str | os.PathLike[str],
    model: ContextModel,
    *,
    architecture: str,
    context_length: int | None = None,
    epoch: int,
    val_loss: float | None,
    val_cosine: float | None,
    optimizer_state: Mapping[str, object] | None = None,
    args: Mapping[str, object] | None = None,
    training_vectors: TrainingVectors | None = None,
) -> None:
    """Write a checkpoint in production's form, or as safetensors if the path ends so. It appears whole or not at all.

    ``context_length`` is the number of vectors in the contexts that the model was trained on, ``training_vectors`` the
    digest of these vectors; None leaves it out. The model's ``unit_inputs`` is stored too. Raises ArchitectureError if
    ``architecture`` is unknown, and the OSError of a failed write.
    """
    stated = {CONTEXT_LENGTH: context_length, INPUT_NORM: UNIT if model.unit_inputs else None}
    content = {
        "model_type": architecture_named(architecture).name,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer_state or {},
        "epoch": epoch,
        "val_loss": val_loss,
        "val_cosine": val_cosine,
        "model_config": model.config | {key: value for key, value in stated.items() if value is not None},
        "args": dict(args or {}),
    }
    if training_vectors is not None:
        content[CONTENT_KEY] = training_vectors.as_content()
    write_durably(path, content_bytes(content, pathlib.Path(path).suffix))


def _weights(content: Mapping[str, object], name: str, *, n_bytes: int) -> dict[str, torch.Tensor]:
    """Return the weights as float32, by the model's own names."""
    state = extract_state_dict(content, name)
    odd = [printable(key) for key, value in state.items() if not (isinstance(key, str) and _is_weight(value))]
    if odd:
        raise CheckpointError(f"{name}: not dense floating-point tensors: {summarise(odd)}", RESAVE)
    _refuse_stretched(state, name, n_bytes)
    weights = {key: value.detach().float() for key, value in state.items()}
    broken = [key for key, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"{name}: NaN or infinity in the weights {summarise(broken)}", "take an earlier checkpoint"
        )
    return weights


def _is_weight(value: object) -> bool:
    if not isinstance(value, torch.Tensor) or type(value) not in {torch.Tensor, torch.nn.Parameter}:
        return False
    plain = value.layout == torch.strided and not (value.is_nested or value.is_quantized)
    return plain and value.is_floating_point() and value.device.type == "cpu" and 0 not in value.shape


def _refuse_stretched(state: Mapping[str, torch.Tensor], name: str, n_bytes: int) -> None:
    """Refuse tensors that are larger than their file, by a stride of zero or a storage that many share."""
    total = sum(value.numel() * value.element_size() for value in state.values())
    if total > n_bytes * _MAX_SHARING:
        raise CheckpointError(f"{name}: declares {total:,} bytes of weights but holds {n_bytes:,}", RESAVE)


def _architecture(
    content: Mapping[str, object], weights: Mapping[str, torch.Tensor], name: str
) -> Architecture:
    """Return the architecture by the keys; raises CheckpointError if the file names another one."""
    found = architecture_of(weights)
    if found is None:
        raise CheckpointError(
            f"{name}: weights of no known architecture: no key begins with {describe_markers()}; their keys are "
            f"{summarise(list(weights))}, and begin with {describe_prefixes(list(weights))}",
            'leave out what is not the model\'s: torch.save({"model_state_dict": model.state_dict()}, path)',
        )
    spelled = content.get("model_type")
    named = match_model_type(spelled) if isinstance(spelled, str) else None
    if named not in {None, found}:
        raise CheckpointError(
            f"{name}: model_type says {printable(spelled)}, but the weights are those of {found.name}",
            "one of the two is wrong: check where the file comes from, then correct model_type",
        )
    return found


def _model(
    architecture: Architecture, weights: dict[str, torch.Tensor], content: Mapping[str, object], name: str
) -> ContextModel:
    """Build the model that fits the weights, and load them."""
    try:
        dimensions = architecture.shapes.dimensions(weights, stored_config(content))
        with torch.device("meta"):  # spends neither time nor random numbers on weights that are replaced
            model = architecture.model_class(**dimensions)
    except (LookupError, TypeError, ValueError, ArithmeticError, AssertionError, RuntimeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{name}: not the weights of {architecture.name}: {why}", RESAVE) from error
    fitted = _fit_shapes(model, weights, f"{name}: not the weights of {architecture.name}")
    model.load_state_dict(fitted, assign=True)
    return model.eval().requires_grad_(requires_grad=False)


def _fit_shapes(
    model: ContextModel, weights: Mapping[str, torch.Tensor], where: str
) -> dict[str, torch.Tensor]:
    """Return the weights in the model's shapes; raises CheckpointError unless they have its keys and shapes.

    Axes of length one may be anywhere: position codes are stored as (1, length, width) or (length, 1, width).
    """
    expected = model.state_dict()
    if missing := [key for key in expected if key not in weights]:
        raise CheckpointError(f"{where}: missing {summarise(missing)}", RESAVE)
    if extra := [key for key in weights if key not in expected]:
        raise CheckpointError(f"{where}: unexpected {summarise(extra)}", RESAVE)
    for key, value in expected.items():
        if weights[key].squeeze().shape != value.squeeze().shape:
            shapes = f"{tuple(weights[key].shape)}, not {tuple(value.shape)}"
            raise CheckpointError(f"{where}: {key} is {shapes}", RESAVE)
    return {key: weights[key].reshape(value.shape) for key, value in expected.items()}
