"""Files of safetensors that hold a checkpoint: read as one of ``torch.save`` is, and written.

The rule: the same content gives the same bytes, since a model is known by the digest of its file. The library writes
texts in an order of chance, so the header is written here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from lvm_batch.lvm.checkpoints.file_kinds import HEADER_BYTES
from lvm_batch.lvm.checkpoints.metadata_texts import as_texts
from lvm_batch.lvm.checkpoints.safetensors_header import FRAMEWORK, METADATA, open_safetensors
from lvm_batch.lvm.checkpoints.state_dicts import PRODUCTION

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALIGNED = 8  # bytes; the values begin at a multiple of these


def read_safetensors(data: bytes, name: str) -> dict[str, object]:
    """Return a file's content as that of a checkpoint in production's form.

    Raises CheckpointError, naming the file ``name``, if it is damaged or holds other than numbers.
    """
    parts, _ = open_safetensors(data, name)
    return {**parts, PRODUCTION: safetensors.torch.load(data)}


def safetensors_bytes(content: Mapping[str, Any]) -> bytes:
    """Return a file with the weights of a checkpoint in production's form, and with the parts that texts can hold."""
    tensors = {
        # Weights may share their memory, which the format cannot say.
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in content[PRODUCTION].items()
    }
    written = safetensors.torch.save(tensors)
    n_bytes = int.from_bytes(written[:HEADER_BYTES], "little")
    values_from = HEADER_BYTES + n_bytes
    texts, _ = as_texts({key: value for key, value in content.items() if key != PRODUCTION})
    header = json.dumps(
        {METADATA: {**FRAMEWORK, **texts}, **json.loads(written[HEADER_BYTES:values_from])}
    ).encode()
    header += b" " * (-len(header) % _ALIGNED)
    return len(header).to_bytes(HEADER_BYTES, "little") + header + written[values_from:]
