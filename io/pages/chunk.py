"""A column chunk of vectors, read page by page into an array.

The rule: only full rows of one width are read here, and every size is checked before memory is taken for it. Whatever
differs raises :class:`Irregular`, and what has been read until then stays right.

The values of a page stand last, in the order of the rows, so that a page's levels are checked and its values copied
once, into the array where they are used; those that are stored as they are used are read right into it. Arrow makes a
level for each value, which takes most of its time.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.formats.parquet import OpenParquet
from lvm_batch.io.pages.headers import BYTE_STREAM_SPLIT, PLAIN, PageHeader, read_header
from lvm_batch.io.pages.levels import check_full, check_lists
from lvm_batch.io.pages.thrift import Irregular
from lvm_batch.io.pages.values import Leaf, ReadValues, UnreadValues, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.storage.object_file import RangesAhead

_HEADER_BYTES = 128
_MOST_PAGE_BYTES = 2**30
_SIZE_BYTES = 4
_CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd", "UNCOMPRESSED": None}
_ENCODINGS = {"PLAIN", "RLE", "BYTE_STREAM_SPLIT"}
_DICTIONARY = {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}


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
        self._page: ReadValues | UnreadValues = ReadValues(np.empty(0, leaf.dtype))
        self.n_coded_rows = self._pass_over_codes() if _DICTIONARY & set(described.encodings) else 0

    def read_into(self, out: NDArray[np.float32]) -> None:
        """Fill ``out``, (rows, …), C-contiguous, with the next rows."""
        flat = out.reshape(-1)
        done = 0
        while done < len(flat):
            if not len(self._page):
                self._page = self._next_page()
            n_numbers = min(len(self._page), len(flat) - done)
            self._page.read_into(flat[done : done + n_numbers])
            done += n_numbers

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

    def _next_page(self) -> ReadValues | UnreadValues:
        header, start = self._next_header()
        n_left = self._left - header.n_values
        if header.is_dictionary or n_left < 0 or not header.n_values or start + header.compressed > self._end:
            raise Irregular
        page = self._unread(header, start) if self._is_as_used(header) else self._read(header, start)
        self._at, self._left = start + header.compressed, n_left
        self._n_read += header.n_values
        return page

    def _is_as_used(self, header: PageHeader) -> bool:
        """Whether a page's numbers are in the file as they are in an array, and nothing else asks for their bytes."""
        is_stored = self._codec is None or (header.levels is not None and not header.is_compressed)
        return (
            isinstance(self._source, OpenParquet)
            and is_stored
            and header.compressed == header.uncompressed
            and header.crc is None
            and header.encoding == PLAIN
            and self._leaf.dtype == np.float32
        )

    def _unread(self, header: PageHeader, start: int) -> UnreadValues:
        """Check the levels of a page, and leave its numbers in the file."""
        n_bytes = self._bytes_of_values(header)
        n_levels = header.uncompressed - n_bytes
        levels = self._bytes(start, n_levels)
        if self._checked_levels(header, levels) != n_levels:
            raise Irregular
        assert isinstance(self._source, OpenParquet)  # noqa: S101 - the caller has looked
        return UnreadValues(self._source, start + n_levels, n_bytes // self._leaf.dtype.itemsize)

    def _read(self, header: PageHeader, start: int) -> ReadValues:
        """Check the levels of a page, and return its numbers as a view of its content."""
        content = self._bytes(start, header.compressed)
        if header.crc is not None and not _is_whole(content, header.crc):
            raise Irregular
        n_bytes = self._bytes_of_values(header)
        if header.levels is None:
            content = self._decompressed(content, header.uncompressed)
        at = self._checked_levels(header, content)
        if header.levels is not None and header.is_compressed and self._codec is not None:
            content, at = self._decompressed(content[at:], header.uncompressed - at), 0
        if len(content) - at != n_bytes:
            raise Irregular
        return ReadValues(decode(memoryview(content)[at:], header.encoding, self._leaf))

    def _bytes(self, start: int, n_bytes: int) -> bytes:
        content = self._source.read_at(start, n_bytes)
        if len(content) < n_bytes:
            raise Irregular
        return content

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

    def _bytes_of_values(self, header: PageHeader) -> int:
        """Return how many bytes the values of a page take, which its size must agree with."""
        n_bytes = header.n_values * self._leaf.value_bytes
        most = min(_MOST_PAGE_BYTES, 2 * n_bytes + 2 * header.n_values + 1024)
        if not n_bytes <= header.uncompressed <= most:
            raise Irregular
        return n_bytes

    def _checked_levels(self, header: PageHeader, content: Any) -> int:  # noqa: ANN401 - bytes or a buffer of Arrow
        """Check the levels at the beginning of a page's content; return where they end."""
        lists = self._leaf.lists
        if header.levels is None:
            repetition, at = _sized(content, 0, is_there=lists.depth > 0)
            definition, at = _sized(content, at, is_there=self._leaf.max_level > 0)
        else:
            at = sum(header.levels)
            repetition, definition = content[: header.levels[0]], content[header.levels[0] : at]
        if lists.depth:
            check_lists(repetition, header.n_values, first=self._n_read, lists=lists)
        if self._leaf.max_level:
            check_full(definition, header.n_values, self._leaf.max_level)
        return at

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


def _sized(content: Any, at: int, *, is_there: bool) -> tuple[bytes, int]:  # noqa: ANN401
    """Return the levels at byte ``at``, which begin with their size, and where they end; a level that is always 0 is
    not written.
    """
    if not is_there:
        return b"", at
    view = memoryview(content)
    size = int.from_bytes(view[at : at + _SIZE_BYTES], "little")
    end = at + _SIZE_BYTES + size
    if end > len(view):
        raise Irregular
    return bytes(view[at + _SIZE_BYTES : end]), end


def _is_whole(content: bytes, crc: int) -> bool:
    return zlib.crc32(content) == crc & 0xFFFFFFFF
