"""A checkpoint in another form: the same weights by the model's own names, and what it says of the model.

The rule: a converted model is the same model. Its weights are equal to the bit in the types that they had, and every
part beside them that a text can hold is there. Optimizers and objects of other libraries stay behind and are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint, load_checkpoint
from lvm_batch.lvm.checkpoints.checkpoint_files import content_bytes, read_content
from lvm_batch.lvm.checkpoints.metadata_texts import as_texts, from_texts
from lvm_batch.lvm.checkpoints.state_dicts import PLACES, PRODUCTION, extract_state_dict
from lvm_batch.lvm.checkpoints.stored_settings import CONTEXT_LENGTH, stored_config
from lvm_batch.lvm.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Conversion:
    """A checkpoint's bytes in another form, the model before and after, and the parts that were ``left_out``."""

    data: bytes
    before: Checkpoint
    after: Checkpoint
    left_out: tuple[str, ...]


def convert(data: bytes, name: str, *, target: str, suffix: str) -> Conversion:
    """Convert a checkpoint's bytes to the form of ``suffix``, and load the result.

    ``name`` and ``target`` are the files' names in errors. Raises CheckpointError if the checkpoint cannot be loaded,
    or if the result does not hold its weights to the bit.
    """
    before = load_checkpoint(data, name)
    content = read_content(data, name)
    weights = extract_state_dict(content, name)
    texts, left_out = as_texts(_beside_weights(content))
    made = content_bytes(_production(weights, from_texts(texts), before), suffix)
    _check_weights(weights, extract_state_dict(read_content(made, target), target), target)
    return Conversion(made, before, load_checkpoint(made, target), left_out)


def _beside_weights(content: Mapping[str, object]) -> dict[str, object]:
    """Return the parts of a checkpoint beside its weights; a dict of weights alone has none."""
    if not any(isinstance(content.get(place), dict) for place in PLACES):
        return {}
    return {key: value for key, value in content.items() if key not in PLACES}


def _production(
    weights: Mapping[str, torch.Tensor], parts: Mapping[str, object], model: Checkpoint
) -> dict[str, object]:
    """Return a checkpoint in production's form, with the architecture and dimensions that ``parts`` may not state."""
    config = {**model.model.config, CONTEXT_LENGTH: model.length, **stored_config(parts)}
    stated = {"model_type": model.architecture, PRODUCTION: dict(weights), "optimizer_state_dict": {}}
    return {**stated, **parts, "model_config": config}


def _check_weights(
    wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], target: str
) -> None:
    """Raise CheckpointError unless both have the same names, types, shapes and bits."""
    if wanted.keys() != found.keys():
        raise CheckpointError(f"{target}: the converted file has other weights", "report this, with the file")
    differ = [key for key, value in wanted.items() if not _same_bits(value, found[key])]
    if differ:
        raise CheckpointError(f"{target}: the weight {differ[0]} changed", "report this, with the file")


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    bits = [each.detach().contiguous().reshape(-1).view(torch.uint8) for each in (one, other)]
    return torch.equal(*bits)
