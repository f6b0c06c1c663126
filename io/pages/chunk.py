"""A column chunk of vectors, read page by page into an array.

The rule: only full rows of one width are read here, and every size is checked before memory is taken for it. Whatever
differs raises :class:`Irregular`, and what has been read until then stays right.

The values of a page stand last, in the order of the rows, so that a page's levels are checked and its values copied
once, into the array where they are used. Arrow makes a level for each value, which takes most of its time.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.pages.headers import BYTE_STREAM_SPLIT, PLAIN, PageHeader, read_header
from lvm_batch.io.pages.levels import Lists, check_full, check_lists
from lvm_batch.io.pages.thrift import Irregular

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.formats.parquet import OpenParquet
    from lvm_batch.io.storage.object_file import RangesAhead

_HEADER_BYTES = 128
_MOST_PAGE_BYTES = 2**30
_SIZE_BYTES = 4
_CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd", "UNCOMPRESSED": None}
_ENCODINGS = {"PLAIN", "RLE", "BYTE_STREAM_SPLIT"}
_DICTIONARY = {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """The leaf column of a column of vectors: its place among the leaves, the type of its values, and how they are
    listed. ``max_level`` is the definition level of a value that is there.
    """

    index: int
    dtype: np.dtype[Any]
    lists: Lists
    max_level: int


class VectorChunk:
    """The rows of one column chunk, to be read in order; raises :class:`Irregular` if it cannot be read here.

    Writers try a dictionary first and go on without one when it has grown too large: the first ``n_coded_rows`` are
    written with a dictionary, and are not read here.
    """

    def __init__(
        self,
        parquet: OpenParquet,
        row_group: int,
        leaf: Leaf,
        *,
        source: OpenParquet | RangesAhead | None = None,
    ) -> None:
        """``source`` gives the bytes of the file, in place of the file itself."""
        group = parquet.metadata.row_group(row_group)
        described = group.column(leaf.index)
        codec = _CODECS.get(described.compression, "")
        is_plain = set(described.encodings) <= _ENCODINGS | _DICTIONARY
        if codec == "" or not is_plain or described.num_values != group.num_rows * leaf.lists.width:
            raise Irregular
        self._source = source or parquet
        self._leaf = leaf
        self._codec = pa.Codec(codec) if codec else None
        self._at, self._end = chunk_range(parquet, row_group, leaf)
        if not 0 < self._at < self._end:
            raise Irregular
        self._left = int(described.num_values)  # values of pages that have not been read
        self._n_read = 0
        self._page: NDArray[Any] = np.empty(0, leaf.dtype)
        self.n_coded_rows = self._pass_over_codes() if _DICTIONARY & set(described.encodings) else 0

    def read_into(self, out: NDArray[np.float32]) -> None:
        """Fill ``out``, (rows, …), C-contiguous, with the next rows."""
        flat = out.reshape(-1)
        done = 0
        while done < len(flat):
            if not len(self._page):
                self._page = self._next_page()
            n_values = min(len(self._page), len(flat) - done)
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # a float64 beyond float32 becomes inf, which is bad
                np.copyto(flat[done : done + n_values], self._page[:n_values], casting="same_kind")
            self._page = self._page[n_values:]
            done += n_values

    def _pass_over_codes(self) -> int:
        """Go to the first page without a dictionary; return how many rows lie before it."""
        while self._left:
            header, start = self._next_header()
            if header.encoding in {PLAIN, BYTE_STREAM_SPLIT} and not header.is_dictionary:
                break
            if not header.is_dictionary:
                self._n_read += header.n_values
                self._left -= header.n_values
            self._at = start + header.compressed
        if self._n_read % self._leaf.lists.width:
            raise Irregular  # a page ends within a row
        return self._n_read // self._leaf.lists.width

    def _next_page(self) -> NDArray[Any]:
        header, start = self._next_header()
        n_left = self._left - header.n_values
        if header.is_dictionary or n_left < 0 or not header.n_values or start + header.compressed > self._end:
            raise Irregular
        content = self._source.read_at(start, header.compressed)
        if len(content) < header.compressed or (
            header.crc is not None and not _is_whole(content, header.crc)
        ):
            raise Irregular
        page = self._values(header, content)
        self._at, self._left = start + header.compressed, n_left
        self._n_read += header.n_values
        return page

    def _next_header(self) -> tuple[PageHeader, int]:
        """Return the next page's header, and where its content begins."""
        n_bytes = min(_HEADER_BYTES, self._end - self._at)
        while n_bytes > 0:
            try:
                header, size = read_header(self._source.read_at(self._at, n_bytes))
            except Irregular:
                if n_bytes >= min(_HEADER_BYTES * 64, self._end - self._at):
                    raise
                n_bytes = min(8 * n_bytes, self._end - self._at)  # statistics can make a header long
            else:
                return header, self._at + size
        raise Irregular

    def _values(self, header: PageHeader, content: bytes) -> NDArray[Any]:
        """Check the levels of a page, and return its values as a view of its content."""
        n_bytes = header.n_values * self._leaf.dtype.itemsize
        if (
            not n_bytes
            <= header.uncompressed
            <= min(_MOST_PAGE_BYTES, 2 * n_bytes + 2 * header.n_values + 1024)
        ):
            raise Irregular
        if header.levels is None:
            content = self._decompressed(content, header.uncompressed)
            repetition, at = _sized(content, 0)
            definition, at = _sized(content, at)
        else:
            at = sum(header.levels)
            repetition, definition = content[: header.levels[0]], content[header.levels[0] : at]
            if header.is_compressed and self._codec is not None:
                content, at = self._decompressed(content[at:], header.uncompressed - at), 0
        if len(content) - at != n_bytes:
            raise Irregular
        check_lists(repetition, header.n_values, first=self._n_read, lists=self._leaf.lists)
        check_full(definition, header.n_values, self._leaf.max_level)
        return _decoded(memoryview(content)[at:], header.encoding, self._leaf.dtype)

    def _decompressed(self, content: bytes, size: int) -> Any:  # noqa: ANN401 - bytes or a buffer of Arrow
        if self._codec is None:
            return content
        try:
            return self._codec.decompress(content, decompressed_size=size)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Irregular from error


def chunk_range(parquet: OpenParquet, row_group: int, leaf: Leaf) -> tuple[int, int]:
    """Return where a column chunk begins and ends in the file, as its footer says."""
    described = parquet.metadata.row_group(row_group).column(leaf.index)
    first = described.dictionary_page_offset if described.has_dictionary_page else None
    start = int(described.data_page_offset if first is None else first)
    return start, min(start + int(described.total_compressed_size), parquet.n_bytes)


def _sized(content: Any, at: int) -> tuple[bytes, int]:  # noqa: ANN401
    """Return the levels at byte ``at``, which begin with their size, and where they end."""
    view = memoryview(content)
    size = int.from_bytes(view[at : at + _SIZE_BYTES], "little")
    end = at + _SIZE_BYTES + size
    if end > len(view):
        raise Irregular
    return bytes(view[at + _SIZE_BYTES : end]), end


def _decoded(values: memoryview, encoding: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if encoding == PLAIN:
        return np.frombuffer(values, dtype)
    if encoding == BYTE_STREAM_SPLIT:
        streams = np.frombuffer(values, np.uint8).reshape(dtype.itemsize, -1)
        return np.ascontiguousarray(streams.T).reshape(-1).view(dtype)
    raise Irregular


def _is_whole(content: bytes, crc: int) -> bool:
    return zlib.crc32(content) == crc & 0xFFFFFFFF
