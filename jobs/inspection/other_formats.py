"""Files of other formats than Parquet: what they hold, and the command that makes Parquet of them.

The rule: a header or the first line is read, never the values.
"""

from __future__ import annotations

import gzip
import json
import posixpath
from typing import IO, TYPE_CHECKING, Any

from lvm_batch.io.errors import DataError
from lvm_batch.io.formats.numpy_files import open_npy, open_npz
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvm_batch.io.dataset.files import InputFile

_LINE_BYTES = 2**20
_SHOWN = 8
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
_ARROW = "python -c \"import pyarrow as a, pyarrow.parquet as p; p.write_table({read}, '{stem}.parquet')\""
_ARROW_FILE = b"ARROW1"
_EXPORT = "write it as Parquet, with the vectors as lists of numbers"


def suffix_of(name: str) -> str:
    """Return a file's suffix in small letters, without that of a compression."""
    stem, end = posixpath.splitext(name.lower())
    return posixpath.splitext(stem)[1] if end in COMPRESSED else end


def describe_file(file: InputFile) -> dict[str, Any]:
    """Return a file's format, what it holds as far as its beginning shows, and the way to Parquet."""
    suffix = suffix_of(file.name)
    title, look = KNOWN[suffix]
    try:
        holds = look(file.path) if look and locate(file.path).is_local else ""
    except (DataError, OSError, ValueError, EOFError) as error:
        holds = f"cannot be read: {error.args[0] if error.args else error}"
    is_packed = suffix in PACKED
    return {
        "file": file.path,
        "format": title,
        "holds": holds,
        "packable": is_packed,
        "hint": "" if is_packed else _way(suffix, file.path),
    }


def _way(suffix: str, path: str) -> str:
    if suffix in {".arrow", ".feather", ".ipc"}:
        opened = (
            "file" if _begins_with(path, _ARROW_FILE) else "stream"
        )  # Hugging Face's save_to_disk writes streams
        read = f"a.ipc.open_{opened}(a.memory_map('{path}')).read_all()"
        return _ARROW.format(read=read, stem=posixpath.splitext(path)[0])
    return _EXPORT


def _begins_with(path: str, magic: bytes) -> bool:
    if not locate(path).is_local:
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - Path's own raises for a text that can be no path
            return file.read(len(magic)) == magic
    except OSError:
        return False


def _npy(path: str) -> str:
    header = open_npy(path).header
    return _array(header.shape, header.dtype)


def _npz(path: str) -> str:
    with open_npz(path) as archive:
        arrays = {name: array.header for name, array in archive.arrays.items()}
    return _joined([f"{name}: {_array(header.shape, header.dtype)}" for name, header in arrays.items()])


def _array(shape: tuple[int, ...], dtype: object) -> str:
    return f"{' x '.join(f'{size:,}' for size in shape) or 'one value'} {dtype}"


def _json_lines(path: str) -> str:
    row = json.loads(_first_line(path))
    if not isinstance(row, dict):
        return f"a {type(row).__name__} a line"
    return _joined([f"{name}: {_value(value)}" for name, value in row.items()])


def _value(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], int | float):
        return f"{len(value):,} numbers"
    names = {"str": "text", "int": "whole number", "float": "number", "NoneType": "null", "dict": "object"}
    return names.get(type(value).__name__, type(value).__name__)


def _table(path: str) -> str:
    return _joined(_first_line(path).replace("\t", ",").split(","))


def _first_line(path: str) -> str:
    with _opened(path) as file:
        line = file.readline(_LINE_BYTES)
    return line.decode("utf-8-sig", "replace").strip()


def _opened(path: str) -> IO[bytes] | gzip.GzipFile:
    if path.lower().endswith(".gz"):
        return gzip.open(path)
    if path.lower().endswith(COMPRESSED):
        raise ValueError("it is compressed")
    return open(path, "rb")  # noqa: PTH123 - Path's own raises for a text that can be no path


def _joined(parts: list[str]) -> str:
    more = len(parts) - _SHOWN
    return ", ".join(parts[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


PACKED = (".npy", ".npz", ".jsonl", ".ndjson")
"""Suffixes of the formats that ``pack`` reads besides Parquet."""

KNOWN: dict[str, tuple[str, Callable[[str], str] | None]] = {
    ".npy": ("an array of NumPy", _npy),
    ".npz": ("arrays of NumPy", _npz),
    ".jsonl": ("JSON lines", _json_lines),
    ".ndjson": ("JSON lines", _json_lines),
    ".csv": ("CSV", _table),
    ".tsv": ("tab-separated values", _table),
    ".arrow": ("Arrow", None),
    ".feather": ("Feather", None),
    ".ipc": ("Arrow", None),
    ".avro": ("Avro", None),
    ".orc": ("ORC", None),
    ".h5": ("HDF5", None),
    ".hdf5": ("HDF5", None),
    ".pkl": ("a pickle", None),
    ".pickle": ("a pickle", None),
    ".safetensors": ("safetensors", None),
    ".duckdb": ("a database of DuckDB", None),
    ".sqlite": ("a database of SQLite", None),
    ".xlsx": ("an Excel workbook", None),
}
"""Formats by suffix: what each is called, and what looks into a file of it."""
