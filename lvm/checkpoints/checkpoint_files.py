"""Checkpoints in either of their two forms: files of ``torch.save``, and of safetensors.

The rule: bytes are read by what they are, whatever their file is called; they are written as the name says.
"""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

from lvm_batch.lvm.checkpoints.file_kinds import is_safetensors
from lvm_batch.lvm.checkpoints.safetensors_files import read_safetensors, safetensors_bytes
from lvm_batch.lvm.checkpoints.torch_files import read_torch_file, torch_bytes, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

SAFETENSORS_SUFFIX = ".safetensors"
"""The end of the names of files that are written as safetensors."""


def read_content(data: bytes, name: str) -> dict[str, object]:
    """Return a checkpoint's dict from its bytes. Raises CheckpointError, naming the file ``name``."""
    return read_safetensors(data, name) if is_safetensors(data) else read_torch_file(data, name)


def content_bytes(content: Mapping[str, object], suffix: str) -> bytes:
    """Return the bytes of a checkpoint in production's form, a dict, in the form of the ``suffix``.

    A file of safetensors holds only those parts that texts can hold (``as_texts``).
    """
    if suffix == SAFETENSORS_SUFFIX:
        return safetensors_bytes(content)
    return torch_bytes(content)


def write_durably(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file completely or not at all, through a hidden one beside it. Raises the OSError of a failed write."""
    target = pathlib.Path(path)
    write_whole(target, data, partial=target.with_name(f".{target.name}.{os.getpid()}.tmp"))
