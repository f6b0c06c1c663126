"""Files of safetensors: what is in them, checked and read without torch.

    8 bytes, little-endian   the length of the header
    JSON                     {"name": {"dtype": …, "shape": […], "data_offsets": […]}, "__metadata__": {"key": "text"}}
    the values               of all tensors, without gaps

The rule: a file passes here or it is not loaded. The library checks types, shapes and places of the tensors; sizes and
names that are there twice are checked before it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, deserialize

from lvm_batch.lvm.checkpoints.file_kinds import HEADER_BYTES
from lvm_batch.lvm.checkpoints.metadata_texts import from_texts
from lvm_batch.lvm.checkpoints.pickle_check import printable
from lvm_batch.lvm.checkpoints.stand_ins import PlainTensor
from lvm_batch.lvm.checkpoints.state_dicts import PRODUCTION
from lvm_batch.lvm.errors import CheckpointError

METADATA = "__metadata__"
"""The key of the texts in a header."""

FRAMEWORK = {"format": "pt"}
"""The text by which readers know that the tensors are torch's."""

MAX_HEADER_BYTES = 2**22
"""Production's has three thousand bytes, with a digest of training vectors 160 thousand."""

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_OTHERS = frozenset({"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"})
_SHOWN = 120  # characters of the library's message
_AGAIN = "copy or convert the file again: lvm-batch models convert SRC DST"

if TYPE_CHECKING:
    from collections.abc import Callable

    Views = list[tuple[str, dict[str, Any]]]

_deserialize: Callable[[bytes], Views] = deserialize  # the library publishes no types of it


def plain_safetensors(data: bytes, name: str) -> dict[str, object]:
    """Return a file's content as that of a checkpoint, with shapes in place of tensors.

    Raises CheckpointError, naming the file ``name``.
    """
    parts, views = open_safetensors(data, name)
    shapes = {key: PlainTensor(tuple(view["shape"]), view["dtype"] in _FLOATS) for key, view in views}
    return {**parts, PRODUCTION: shapes}


def open_safetensors(data: bytes, name: str) -> tuple[dict[str, object], Views]:
    """Return what a file says beside its tensors, and each tensor's name, ``dtype``, ``shape`` and ``data``.

    Raises CheckpointError, naming the file ``name``, if it is damaged or holds other than numbers.
    """
    header = _header(data, name)
    try:
        views: Views = _deserialize(data)
    except SafetensorError as error:
        why = printable(str(error).rpartition("deserializing: ")[2][:_SHOWN])
        raise CheckpointError(f"{name}: damaged safetensors file: {why}", _AGAIN) from error
    if odd := sorted({view["dtype"] for _, view in views} - _FLOATS - _OTHERS):
        raise CheckpointError(
            f"{name}: holds tensors of the types {', '.join(odd)}, but weights must be {', '.join(sorted(_FLOATS))}",
            "save the weights of the model itself, before they were quantised",
        )
    if not views:
        raise CheckpointError(f"{name}: a safetensors file that holds no tensors", _AGAIN)
    texts = header.get(METADATA) or {}
    return from_texts({key: text for key, text in texts.items() if key not in FRAMEWORK}), views


def _header(data: bytes, name: str) -> dict[str, Any]:
    """Return the header; raises CheckpointError if it is too long, or names anything twice."""
    n_bytes = int.from_bytes(data[:HEADER_BYTES], "little")
    if n_bytes > min(MAX_HEADER_BYTES, len(data) - HEADER_BYTES):
        raise CheckpointError(
            f"{name}: damaged safetensors file: it declares a header of {n_bytes:,} bytes; a file of {len(data):,} "
            f"bytes has at most {max(0, min(MAX_HEADER_BYTES, len(data) - HEADER_BYTES)):,}",
            _AGAIN,
        )
    try:
        header = json.loads(data[HEADER_BYTES : HEADER_BYTES + n_bytes], object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{name}: damaged safetensors file: its header {error if isinstance(error, _TwiceError) else 'is no JSON'}",
            _AGAIN,
        ) from error
    return header if isinstance(header, dict) else {}  # the library says what is wrong with it


class _TwiceError(ValueError):
    """A name that a header holds twice."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _TwiceError(f"names {printable(twice)} twice")
    return found
