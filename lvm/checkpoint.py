"""Checkpoints in production's form: a ``torch.save`` dict around the weights.

The one rule: loading runs no code of the file. Nothing is unpickled but tensors, plain values and paths, and
a path becomes a pure one, which cannot reach a disk. Does not know where files lie (``registry``) or how they
are fetched: it takes bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import pickle
import re
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lvm_batch.lvm.architectures import (
    Architecture,
    architecture_named,
    architecture_of,
    architecture_spelled,
)
from lvm_batch.lvm.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lvm_batch.lvm.context_model import ContextModel

_PURE_PATHS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (getattr(pathlib, f"Pure{flavour}Path"), f"{module}.{kind}{flavour}Path")
    for module in ("pathlib", "pathlib._local")  # where Python 3.13 keeps them
    for kind in ("", "Pure")
    for flavour in ("Posix", "Windows", "")
]
_DAMAGED = (  # all that torch was seen to raise on 6,000 damaged files
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OSError,
    AssertionError,
    struct.error,
)
_RESAVE = 'save it again as torch.save({"model_type": …, "model_state_dict": model.state_dict()}, path)'
_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's
_TORCH_FILES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # zip, and before torch 1.6
_LOADING = threading.Lock()  # torch keeps the allow-list in a global


@dataclass(frozen=True)
class Checkpoint:
    """A model ready for inference, and what its file says of it.

    ``model`` is in eval mode, float32, on the CPU. ``dim`` is the width of its vectors. ``sha256`` is the hex
    digest of the file's bytes, ``name`` what the caller calls the file. ``epoch`` and ``val_cosine`` are None
    where the file has none.
    """

    architecture: str
    model: ContextModel
    dim: int
    n_parameters: int
    sha256: str
    name: str
    epoch: int | None
    val_cosine: float | None


def load_checkpoint(data: bytes, name: str) -> Checkpoint:
    """Load a checkpoint, or a bare state dict, from a file's bytes. ``name`` is what errors call it, its path
    for example.

    The keys of the weights decide the architecture and their shapes its dimensions. Raises CheckpointError
    where the file is damaged, would run code, is of no known architecture, or does not agree with itself.
    """
    content = _unpickle(data, name)
    weights = _weights(content, name)
    architecture = _architecture(content, weights, name)
    model = _model(architecture, weights, content, name)
    return Checkpoint(
        architecture=architecture.name,
        model=model,
        dim=model.dim,
        n_parameters=model.n_parameters,
        sha256=hashlib.sha256(data).hexdigest(),
        name=name,
        epoch=epoch if isinstance(epoch := content.get("epoch"), int) else None,
        val_cosine=cosine if isinstance(cosine := content.get("val_cosine"), float) else None,
    )


def save_checkpoint(
    path: str | os.PathLike[str],
    model: ContextModel,
    *,
    architecture: str,
    epoch: int,
    val_loss: float | None,
    val_cosine: float | None,
    optimizer_state: Mapping[str, object] | None = None,
    args: Mapping[str, object] | None = None,
) -> None:
    """Write production's form. The file appears whole or not at all.

    Raises ArchitectureError where ``architecture`` is unknown, and OSError as writing does.
    """
    content = {
        "model_type": architecture_named(architecture).name,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer_state or {},
        "epoch": epoch,
        "val_loss": val_loss,
        "val_cosine": val_cosine,
        "model_config": model.config,
        "args": dict(args or {}),
    }
    target = pathlib.Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        torch.save(content, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _unpickle(data: bytes, name: str) -> dict[str, object]:
    """Read the file's dict without running anything in it."""
    if not data.startswith(_TORCH_FILES):
        raise CheckpointError(f"{name}: not a file of torch.save ({len(data):,} bytes)", _RESAVE)
    try:
        with _LOADING, torch.serialization.safe_globals(_PURE_PATHS):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{name}: {_refusal(str(error))}", _RESAVE) from error
    except _DAMAGED as error:
        message = f"{name}: damaged or cut short ({len(data):,} bytes)"
        raise CheckpointError(message, "copy or save the file again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{name}: holds a {type(content).__name__}, not a dict of weights", _RESAVE)
    return content


def _refusal(text: str) -> str:
    """Say what torch refused to load, from its long message."""
    refused = re.search(r"(?:GLOBAL|blocked module) ([\w.]+)", text)
    return (
        f"holds more than weights, plain values and paths: {refused[1]}"
        if refused
        else "damaged: no valid pickle"
    )


def _weights(content: Mapping[str, object], name: str) -> dict[str, torch.Tensor]:
    """Take the state dict out, as float32, without the prefixes of wrappers."""
    state = content.get("model_state_dict", content)
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{name}: model_state_dict is not a dict of weights", _RESAVE)
    odd = [str(key) for key, value in state.items() if not _is_weight(value)]
    if odd:
        raise CheckpointError(f"{name}: not dense floating-point tensors: {_some(odd)}", _RESAVE)
    weights = {_unwrapped(str(key)): value.float() for key, value in state.items()}
    broken = [key for key, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"{name}: NaN or infinity in the weights {_some(broken)}", "take an earlier checkpoint"
        )
    return weights


def _is_weight(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.layout == torch.strided


def _unwrapped(key: str) -> str:
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    return key


def _architecture(
    content: Mapping[str, object], weights: Mapping[str, torch.Tensor], name: str
) -> Architecture:
    """Tell the architecture by the keys, and hold what the file says of itself against it."""
    found = architecture_of(weights)
    if found is None:
        raise CheckpointError(
            f"{name}: weights of no known architecture; their keys are {_some(list(weights))}",
            "a GRU for example has the keys input_proj, blocks.N.gru, blocks.N.norm, output_proj",
        )
    said = architecture_spelled(str(content.get("model_type", "")))
    if said not in {None, found}:
        raise CheckpointError(
            f"{name}: model_type says {content['model_type']}, but the weights are those of {found.name}",
            "one of the two is wrong: look where the file comes from, then correct model_type",
        )
    return found


def _model(
    architecture: Architecture, weights: dict[str, torch.Tensor], content: Mapping[str, object], name: str
) -> ContextModel:
    """Build the model that fits the weights, and put them in."""
    config = content.get("model_config")
    try:
        dimensions = architecture.dimensions(weights, config if isinstance(config, dict) else {})
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name}: not the weights of {architecture.name}: {error}", _RESAVE) from error
    with torch.device("meta"):  # neither time nor random numbers are spent on weights to be replaced
        model = architecture.model_class(**dimensions)
    fitted = _fitted(model, weights, f"{name}: not the weights of {architecture.name}")
    model.load_state_dict(fitted, assign=True)
    return model.eval().requires_grad_(requires_grad=False)


def _fitted(model: ContextModel, weights: Mapping[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
    """Return the weights in the model's shapes, or raise CheckpointError unless they have its keys and shapes.

    Axes of length one may be elsewhere: position codes are kept as (1, length, width) or (length, 1, width).
    """
    expected = model.state_dict()
    if missing := [key for key in expected if key not in weights]:
        raise CheckpointError(f"{where}: missing {_some(missing)}", _RESAVE)
    if extra := [key for key in weights if key not in expected]:
        raise CheckpointError(f"{where}: beyond it there are {_some(extra)}", _RESAVE)
    for key, value in expected.items():
        if weights[key].squeeze().shape != value.squeeze().shape:
            shapes = f"{tuple(weights[key].shape)}, not {tuple(value.shape)}"
            raise CheckpointError(f"{where}: {key} is {shapes}", _RESAVE)
    return {key: weights[key].reshape(value.shape) for key, value in expected.items()}


def _some(names: list[str]) -> str:
    """Name at most three."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004
