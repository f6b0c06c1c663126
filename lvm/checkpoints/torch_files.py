"""Files of ``torch.save`` that hold a dict: reading, and durable writing.

The rule: reading runs no code of the file. Only tensors, plain values and stand-ins for a few others (``stand_ins``)
are unpickled.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import threading
import warnings
from typing import TYPE_CHECKING, Any

import torch

from lvm_batch.lvm.checkpoints.file_kinds import RESAVE, damage_error, refuse_other_files
from lvm_batch.lvm.checkpoints.pickle_check import check_pickles
from lvm_batch.lvm.checkpoints.stand_ins import STAND_INS, plain_dict
from lvm_batch.lvm.errors import CheckpointError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping

_ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (stand_in, name) for name, stand_in in STAND_INS.items()
]
_DAMAGE_ERRORS = (  # every error that torch raised on 6,000 damaged files
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OSError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
)
_LOADING = threading.Lock()  # torch keeps the allow-list in a global


def read_torch_file(data: bytes, name: str) -> dict[str, object]:
    """Return a file's dict from its bytes. Raises CheckpointError, naming the file ``name``."""
    refuse_other_files(data, name)
    check_pickles(data, name)
    try:
        with _LOADING, warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED):
            warnings.simplefilter("ignore")  # about pickle protocols and formats that load nevertheless
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{name}: {_refused_name(str(error))}", RESAVE) from error
    except _DAMAGE_ERRORS as error:
        raise damage_error(data, name) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{name}: holds a {type(content).__name__}, not a dict of weights", RESAVE)
    return plain_dict(content)


def write_torch_file(path: pathlib.Path, content: Mapping[str, object], *, partial: pathlib.Path) -> None:
    """Write a file completely and durably or not at all, through ``partial`` beside it.

    Raises the OSError of a failed write; torch's own writer raises a RuntimeError, "enforce fail", on a full disk.
    """
    write_whole(path, torch_bytes(content), partial=partial)


def torch_bytes(content: Mapping[str, object]) -> bytes:
    """Return the bytes of a file that holds a dict."""
    saved = io.BytesIO()
    torch.save(dict(content), saved)
    return saved.getvalue()


def write_whole(path: pathlib.Path, data: bytes, *, partial: pathlib.Path) -> None:
    """Write bytes completely and durably or not at all, through ``partial`` beside the file."""
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # otherwise a crash may leave the new name on an empty file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _refused_name(text: str) -> str:
    """Return what torch refused to load, from its long message."""
    refused = re.search(r"(?:GLOBAL|blocked module) ([\w.]+)", text)
    return (
        f"holds more than weights, plain values and paths: {refused[1]}"
        if refused
        else "damaged: no valid pickle"
    )
