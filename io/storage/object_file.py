"""An object that is read in parts, with what comes next fetched ahead.

The rule: all reads of one open file are of one version of it; if it is replaced meanwhile, reading fails. What is held
is bounded: :data:`IN_TURNS_BYTES` for reads in turns, and :data:`AHEAD_BYTES` for each column that is read by ranges.
"""

from __future__ import annotations

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvm_batch.io.storage.bucket import Bucket
    from lvm_batch.io.storage.bucket_objects import ObjectInfo

# Arrow asks for a mebibyte at a time, for which a store takes as long to start as to send. So if a read continues an
# earlier one, more is fetched ahead. Columns are read in turns, each from its own place.
_SEGMENT_BYTES = 4 * 2**20
_SEGMENTS_KEPT = 8
_AHEAD_BYTES = 2 * _SEGMENT_BYTES
_SEGMENTS_AHEAD = 4
_COLUMNS = 64
_READERS = 16
IN_TURNS_BYTES = _SEGMENTS_KEPT * _SEGMENT_BYTES
"""What an open file holds of reads in turns."""
AHEAD_BYTES = _SEGMENTS_AHEAD * _SEGMENT_BYTES
"""What is held of ranges that are fetched ahead."""


class _Segment(NamedTuple):
    """Bytes from ``start`` to before ``end``, fetched or being fetched."""

    start: int
    end: int
    content: Future[bytes]

    def part(self, start: int, end: int) -> bytes:
        """Wait for the bytes from ``start`` to ``end`` that this segment has."""
        return self.content.result()[start - self.start : end - self.start]


class ObjectFile:
    """One version of an object; if a read continues an earlier one, what follows is fetched ahead."""

    closed = False

    def __init__(self, bucket: Bucket, found: ObjectInfo) -> None:
        self._bucket = bucket
        self._found = found
        self._position = 0
        self._ends: deque[int] = deque(maxlen=_COLUMNS)
        self._segments: deque[_Segment] = deque(maxlen=_SEGMENTS_KEPT)

    def size(self) -> int:
        """Return the object's bytes."""
        return self._found.size

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._found.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, n_bytes: int = -1) -> bytes:
        """Return the next ``n_bytes``, fewer at the end."""
        start = self._position
        end = self._found.size if n_bytes < 0 else max(start, min(self._found.size, start + n_bytes))
        goes_on = start in self._ends
        self._ends.append(end)
        self._position = end
        needed = list(self._kept(start, end) if goes_on else self._cut(start, end))
        if goes_on and needed:
            list(self._kept(needed[-1].end, needed[-1].end + _AHEAD_BYTES))
        starts = [start, *(segment.end for segment in needed)]  # segments may overlap
        return b"".join(segment.part(at, end) for at, segment in zip(starts, needed, strict=False))

    def close(self) -> None:
        """Drop what was fetched."""
        self.closed = True
        self._segments.clear()

    def flush(self) -> None:
        """Do nothing: this is only read."""

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def seekable(self) -> bool:
        """Say that reading can begin anywhere."""
        return True

    def _cut(self, start: int, end: int) -> Iterator[_Segment]:
        """Fetch exactly the bytes from ``start`` to ``end``, in parallel parts."""
        for at in range(start, end, _SEGMENT_BYTES):
            yield self.fetch(at, min(end, at + _SEGMENT_BYTES))

    def _kept(self, start: int, end: int) -> Iterator[_Segment]:
        """Find or fetch the segments with the bytes up to ``end`` or the end of the file."""
        at = start
        while at < min(end, self._found.size):
            held = next((segment for segment in self._segments if segment.start <= at < segment.end), None)
            if held is None:
                held = self.fetch(at, min(self._found.size, at + _SEGMENT_BYTES))
                self._segments.append(held)
            yield held
            at = held.end

    def ahead(self, ranges: Iterable[tuple[int, int]]) -> RangesAhead:
        """Return a reader of ranges that are read in order."""
        return RangesAhead(self, ranges)

    def fetch(self, start: int, end: int) -> _Segment:
        """Begin to fetch the bytes from ``start`` to ``end``."""
        return _Segment(start, end, _readers().submit(self._bucket.read_range, self._found, start, end))


class RangesAhead:
    """Ranges of an object that are read in order, each from its beginning on; the next ones are fetched meanwhile.

    What is read elsewhere is fetched then.
    """

    def __init__(self, file: ObjectFile, ranges: Iterable[tuple[int, int]]) -> None:
        self._file = file
        self._to_come = (
            (at, min(end, at + _SEGMENT_BYTES))
            for start, end in ranges
            for at in range(start, end, _SEGMENT_BYTES)
        )
        self._segments: deque[_Segment] = deque()

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Return bytes of the object, fewer at its end."""
        end = min(offset + n_bytes, self._file.size())
        self._move_to(offset)
        parts: list[bytes] = []
        for segment in self._segments:
            if segment.start <= offset < min(segment.end, end):
                parts.append(segment.part(offset, min(end, segment.end)))
                offset = min(end, segment.end)
        if offset < end:
            parts.append(self._file.fetch(offset, end).content.result())
        return b"".join(parts)

    def _move_to(self, offset: int) -> None:
        """Let go of what lies before ``offset``, and begin to fetch what comes next."""
        while self._segments and self._segments[0].end <= offset:
            self._segments.popleft()
        while len(self._segments) < _SEGMENTS_AHEAD and (following := next(self._to_come, None)):
            if following[1] > offset or self._segments:
                self._segments.append(self._file.fetch(*following))


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_READERS, thread_name_prefix="lvm-batch-bucket")
