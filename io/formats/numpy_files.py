"""NPZ and NPY files: arrays are read a few rows at a time, never whole and never unpickled.

The rule: everything about an array is known from its header before any value is read; arrays of objects, which only
unpickling could read, are refused.
"""

from __future__ import annotations

import math
import tokenize
import warnings
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.lib import format as npy

from lvm_batch.io.errors import UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_BROKEN_HEADER = (tokenize.TokenError, SyntaxError, RecursionError, MemoryError, OverflowError, TypeError)
_SUFFIX = ".npy"
_ENCRYPTED = 0x1
_DEFLATE_AT_MOST = 1100  # deflate, the only compression that NumPy writes, shrinks data at most so many times
_DAMAGED = "copy it again, or write it again: it may have been cut short"


@dataclass(frozen=True, slots=True)
class Header:
    """The shape, type and order of an array, and the offset of its values in its file, in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Offset of the end of its values, in bytes."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


class StoredArray(Protocol):
    """An array in a file."""

    @property
    def header(self) -> Header:
        """The array's header."""

    def blocks(self, n_rows: int) -> Iterator[NDArray[Any]]:
        """Yield its rows in order, ``n_rows`` at a time, read-only, in the stored type.

        Raises :class:`UnreadableFile` if the file is damaged.
        """


@dataclass(frozen=True, slots=True)
class NpyArray:
    """The array of an NPY file, read as a stream, or, where no row stands in one piece, mapped into memory."""

    path: str
    header: Header

    def blocks(self, n_rows: int) -> Iterator[NDArray[Any]]:
        """Yield blocks; mapped pages would count as memory of the process as far as they have been read."""
        header = self.header
        if math.prod(header.shape) == 0:  # an empty file cannot be mapped
            return
        is_mapped = header.fortran_order and len(header.shape) > 1
        yield from self._mapped(n_rows) if is_mapped else self._streamed(n_rows)

    def _streamed(self, n_rows: int) -> Iterator[NDArray[Any]]:
        header = self.header
        with _naming(self.path, ""), Path(self.path).open("rb") as stream:
            stream.seek(header.offset)
            for first in range(0, header.shape[0], n_rows):
                yield _read_rows(stream, header, min(n_rows, header.shape[0] - first))

    def _mapped(self, n_rows: int) -> Iterator[NDArray[Any]]:
        header = self.header
        values: NDArray[Any] = np.memmap(
            self.path, header.dtype, mode="r", offset=header.offset, shape=header.shape, order="F"
        )
        for first in range(0, len(values), n_rows):
            yield values[first : first + n_rows]


@dataclass(frozen=True, slots=True)
class ZippedArray:
    """An array of an NPZ file, compressed or not, read as a stream; its checksum is verified at the end."""

    path: str
    name: str
    header: Header
    archive: zipfile.ZipFile
    member: zipfile.ZipInfo

    def blocks(self, n_rows: int) -> Iterator[NDArray[Any]]:
        """Yield blocks, each in its own memory."""
        with _naming(self.path, self.name), self.archive.open(self.member) as stream:
            stream.read(self.header.offset)
            for first in range(0, self.header.shape[0], n_rows):
                yield _read_rows(stream, self.header, min(n_rows, self.header.shape[0] - first))


def _read_rows(stream: IO[bytes], header: Header, n_rows: int) -> NDArray[Any]:
    content = stream.read(n_rows * header.row_bytes)
    return np.frombuffer(content, header.dtype).reshape(n_rows, *header.shape[1:])


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """An open file: its arrays by name, and the names of other members."""

    arrays: dict[str, StoredArray]
    other_members: tuple[str, ...]


def open_npy(path: str) -> NpyArray:
    """Read the header of the NPY file at ``path``; raises :class:`UnreadableFile`."""
    with _naming(path, ""), Path(path).open("rb") as stream:
        header = _read_header(stream, path, "")
    _check_size(header, Path(path).stat().st_size, path, "")
    return NpyArray(path, header)


@contextmanager
def open_npz(path: str, *, leave_out: Collection[str] = ()) -> Iterator[ArrayFile]:
    """Open the NPZ file at ``path`` without the arrays ``leave_out``; raises :class:`UnreadableFile`.

    Every header is read and checked first.
    """
    with _naming(path, ""):
        archive = zipfile.ZipFile(path)
    with archive:
        arrays: dict[str, StoredArray] = {}
        other_members = []
        for member in archive.infolist():
            name = member.filename.removesuffix(_SUFFIX)
            if not member.filename.endswith(_SUFFIX):
                other_members.append(member.filename)
            elif name not in leave_out:
                arrays[name] = _open_member(archive, member, path, name)
        yield ArrayFile(arrays, tuple(other_members))


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str, name: str) -> ZippedArray:
    if member.flag_bits & _ENCRYPTED:
        raise UnreadableFile(
            f"{path}: array `{name}` is encrypted", "write it again without a password", path
        )
    packed = member.compress_type != zipfile.ZIP_STORED
    if member.file_size > member.compress_size * (_DEFLATE_AT_MOST if packed else 1):
        raise UnreadableFile(
            f"{path}: array `{name}` declares {member.file_size:,} bytes in {member.compress_size:,}",
            _DAMAGED,
            path,
        )
    with _naming(path, name), archive.open(member) as stream:
        header = _read_header(stream, path, name)
    _check_size(header, member.file_size, path, name)
    if header.fortran_order and len(header.shape) > 1:
        raise UnreadableFile(
            f"{path}: array `{name}` is in Fortran order, so its rows are not contiguous",
            "save np.ascontiguousarray(array), or as NPY, which may have any order",
            path,
        )
    return ZippedArray(path, name, header, archive, member)


def _read_header(stream: IO[bytes], path: str, name: str) -> Header:
    version = npy.read_magic(stream)
    if version not in _HEADER_READERS:
        raise ValueError(f"its format {version[0]}.{version[1]} is for structured arrays only")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers that Python 2 wrote, which can be read
        shape, fortran_order, dtype = _HEADER_READERS[version](stream)
    if dtype.hasobject:
        raise UnreadableFile(
            f"{_called(path, name)} holds Python objects, and unpickling a file can run any code in it",
            "save texts as np.array(values, dtype=str)"
            + (f", or leave it out: --leave-out {name}" if name else ""),
            path,
        )
    return Header(tuple(map(int, shape)), dtype, bool(fortran_order), stream.tell())


def _check_size(header: Header, n_bytes: int, path: str, name: str) -> None:
    if n_bytes < header.end or min(header.shape, default=0) < 0:
        raise UnreadableFile(
            f"{_called(path, name)} is cut short: it has {n_bytes:,} of {header.end:,} bytes", _DAMAGED, path
        )


def _called(path: str, name: str) -> str:
    return f"{path}: array `{name}`" if name else path


@contextmanager
def _naming(path: str, name: str) -> Iterator[None]:
    """Turn errors of numpy and zipfile into one that names the file and the array."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        LZMAError,
        EOFError,
        ValueError,
        NotImplementedError,
        OSError,
        *_BROKEN_HEADER,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UnreadableFile(f"{_called(path, name)} cannot be read: {reason}", _DAMAGED, path) from error
