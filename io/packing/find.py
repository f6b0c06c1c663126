"""What can be packed: NPZ, NPY and Parquet files, told apart by their first bytes.

The rule: the suffix of a name decides nothing, so that a renamed file is read as what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.errors import InputNotFound, UnreadableFile
from lvm_batch.io.packing.numpy_source import npy_source, npz_sources
from lvm_batch.io.packing.parquet_source import parquet_source
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.packing.sources import Reading, Source

_MAGIC = {b"PK": "npz", b"\x93N": "npy", b"PA": "parquet"}


def find_sources(file: InputFile, reading: Reading) -> list[Source]:
    """Return the sources of rows in ``file``; raises ``DataError`` if it cannot be packed."""
    kind = _kind(file)
    if kind == "parquet":
        return [parquet_source(file, reading)]
    if not locate(file.path).is_local:
        raise InputNotFound(
            f"{file.path} is not on this machine", "copy it here first; only Parquet is read from afar"
        )
    return npz_sources(file, reading) if kind == "npz" else [npy_source(file, reading)]


def _kind(file: InputFile) -> str:
    place = locate(file.path)
    try:
        with place.filesystem.open_input_file(place.path) as stream:
            start = stream.read(2)
    except (pa.ArrowException, OSError) as error:
        raise InputNotFound(
            f"{file.path} cannot be read: {error}", "check the path and access to it"
        ) from error
    if start not in _MAGIC:
        raise UnreadableFile(
            f"{file.path} is neither NPZ nor NPY nor Parquet, or it is damaged",
            "name the files to pack, for example with a pattern: 'folder/*.npz'",
            file.path,
        )
    return _MAGIC[start]
