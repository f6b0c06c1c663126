"""What can be packed: NPZ, NPY, Parquet and JSON lines, told apart by their first bytes.

The rule: the suffix of a name decides nothing, so that a renamed file is read as what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.errors import InputNotFound, UnreadableFile
from lvm_batch.io.formats.json_lines import begins_as_json_lines
from lvm_batch.io.packing.json_source import json_source
from lvm_batch.io.packing.numpy_source import npy_sources, npz_sources
from lvm_batch.io.packing.parquet_source import parquet_sources
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.packing.sources import Reading, Source

_MAGIC = {b"PK": "npz", b"\x93N": "npy", b"PA": "parquet"}


def find_sources(files: Sequence[InputFile], reading: Reading) -> list[Source]:
    """Return the sources of rows in ``files``, in their order; raises ``DataError`` if one cannot be packed."""
    by_kind: dict[str, list[InputFile]] = {"parquet": [], "npz": [], "npy": [], "json": []}
    for file in files:
        by_kind[_kind(file)].append(file)
    sources = [
        *parquet_sources(by_kind["parquet"], reading),
        *(source for file in by_kind["npz"] for source in npz_sources(file, reading)),
        *npy_sources(by_kind["npy"], reading),
        *(json_source(file, reading) for file in by_kind["json"]),
    ]
    order = {file: number for number, file in enumerate(files)}
    return sorted(sources, key=lambda source: order[source.file])


def _kind(file: InputFile) -> str:
    place = locate(file.path)
    try:
        with place.filesystem.open_input_file(place.path) as stream:
            start = stream.read(2)
    except (pa.ArrowException, OSError) as error:
        raise InputNotFound(
            f"{file.path} cannot be read: {error}", "check the path and access to it"
        ) from error
    kind = _MAGIC.get(start) or ("json" if begins_as_json_lines(file.path) else None)
    if kind is None:
        raise UnreadableFile(
            f"{file.path} is neither NPZ nor NPY nor Parquet nor JSON lines, or it is damaged",
            "name the files to pack, for example with a pattern: 'folder/*.npz'",
            file.path,
        )
    if kind in {"npz", "npy"} and not place.is_local:
        raise InputNotFound(
            f"{file.path} is not on this machine",
            "copy it here first; only Parquet and JSON lines are read from a store",
        )
    return kind
