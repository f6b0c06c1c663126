"""The facts of a checkpoint, read without torch: its architecture, its dimensions, its number of parameters.

The rule: nothing of the file runs. Its pickle passes the same check as before loading, and is then read with stand-ins
in place of everything that it names; a tensor becomes its shape. Loading decides: these facts only come first.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvm_batch.lvm.architectures.weight_shapes import SHAPES, recognise
from lvm_batch.lvm.checkpoints.file_kinds import is_safetensors, refuse_other_files
from lvm_batch.lvm.checkpoints.pickle_check import check_pickles
from lvm_batch.lvm.checkpoints.safetensors_header import plain_safetensors
from lvm_batch.lvm.checkpoints.stand_ins import (
    STAND_INS,
    Dtype,
    Nothing,
    PlainTensor,
    Table,
    plain_dict,
    scalar,
)
from lvm_batch.lvm.checkpoints.state_dicts import extract_state_dict
from lvm_batch.lvm.checkpoints.stored_settings import context_length, stored_config
from lvm_batch.lvm.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

_WHOLE_NUMBERS = ("Int", "Long", "Short", "Char", "Byte", "Bool")
"""The beginnings of the names of torch's storages whose values are no floats."""

_UNREADABLE = (
    pickle.UnpicklingError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
)
"""The errors of a file that has another form than torch writes; loading says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """The architecture of a model, the width of its vectors, the length of its contexts and its trainable values.

    All are ``None`` if they cannot be read without torch.
    """

    architecture: str | None = None
    dim: int | None = None
    length: int | None = None
    n_parameters: int | None = None


def read_facts(path: str | os.PathLike[str]) -> CheckpointFacts:
    """Read the facts of the checkpoint at ``path``, a local file.

    Raises CheckpointError if the file is damaged, would run code or is no checkpoint, and the OSError of reading.
    """
    return facts_of(Path(path).read_bytes(), str(path))


def facts_of(data: bytes, name: str) -> CheckpointFacts:
    """Return the facts of a checkpoint's bytes. Raises CheckpointError, naming the file ``name``."""
    content = plain_content(data, name)
    try:
        return CheckpointFacts() if content is None else _facts(content, name)
    except (*_UNREADABLE, CheckpointError):
        return CheckpointFacts()


def plain_content(data: bytes, name: str) -> dict[str, object] | None:
    """Return a checkpoint's dict with shapes in place of tensors; None if it cannot be read without torch.

    Raises CheckpointError, naming the file ``name``.
    """
    if is_safetensors(data):
        return plain_safetensors(data, name)
    refuse_other_files(data, name)
    check_pickles(data, name)
    try:
        return _content(data)
    except _UNREADABLE:
        return None


def _facts(content: Mapping[str, object], name: str) -> CheckpointFacts:
    weights = extract_state_dict(content, name)
    architecture = recognise(weights)
    if architecture is None:
        return CheckpointFacts()
    shapes = SHAPES[architecture]
    dimensions = shapes.dimensions(weights, stored_config(content))
    return CheckpointFacts(
        architecture,
        dimensions["input_dim"],
        context_length(content, dimensions, learns_positions=shapes.learns_positions),
        shapes.n_parameters(weights),
    )


def _content(data: bytes) -> dict[str, object] | None:
    """Return a file's dict with shapes in place of tensors; None for a file from before torch 1.6."""
    if not data.startswith(b"PK"):
        return None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (record,) = (name for name in archive.namelist() if name.casefold().endswith("data.pkl"))
        content = _Unpickler(io.BytesIO(archive.read(record))).load()
    return plain_dict(content) if isinstance(content, dict) else None


class _Unpickler(pickle.Unpickler):
    """Reads a pickle of torch with a stand-in for every name in it."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - whatever stands in
        full = f"{module}.{name}"
        return _STAND_INS[full] if full in _STAND_INS else _storage_kind(full)

    def persistent_load(self, pid: Any) -> object:  # noqa: ANN401 - torch's tuple about a storage
        """Return the kind of the storage: ``("storage", kind, key, device, size)``."""
        return pid[1]


class _Function:
    """A function that a pickle may call and, unlike a plain one, not change: BUILD sets attributes of what it gets."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, _: object) -> None:
        pass


def _storage_kind(full: str) -> object:
    """Return whether a storage holds floats; an empty object in place of everything else."""
    kind = full.removeprefix("torch.").removeprefix("cuda.")
    return not kind.startswith(_WHOLE_NUMBERS) if kind.endswith("Storage") else Nothing


def _tensor(storage: object, _offset: object, size: tuple[int, ...], *_: object) -> PlainTensor:
    return PlainTensor(tuple(size), storage is not False)


def _parameter(tensor: PlainTensor, *_: object) -> PlainTensor:
    return tensor


def _encode(text: object, *_: object) -> bytes:
    """Return the bytes that numpy's scalars keep as text."""
    return text.encode("latin1") if isinstance(text, str) else b""


_STAND_INS: Mapping[str, object] = {
    **{name: stand_in for name, stand_in in STAND_INS.items() if stand_in in {Table, Dtype}},
    **{name: _Function(scalar) for name, stand_in in STAND_INS.items() if stand_in is scalar},
    "collections.OrderedDict": Table,
    "collections.Counter": Table,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _Function(_tensor),
    "torch._utils._rebuild_tensor_v2": _Function(_tensor),
    "torch._utils._rebuild_tensor_v3": _Function(_tensor),
    "torch._utils._rebuild_parameter": _Function(_parameter),
    "_codecs.encode": _Function(_encode),
}
"""Classes here have a ``__setstate__`` of their own, so that BUILD cannot change them either."""
