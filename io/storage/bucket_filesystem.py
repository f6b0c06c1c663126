"""A bucket as an Arrow file system to read from.

The rule: all reads of one open file are of one version of it; if it is replaced meanwhile, reading fails. Nothing is
written here: if an exception ends a write, Arrow publishes the part that was written (arrow#40502).
"""

from __future__ import annotations

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import pyarrow as pa
from pyarrow import fs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.storage.bucket import Bucket
    from lvm_batch.io.storage.bucket_objects import ObjectInfo

# Arrow asks for a mebibyte at a time, for which a store takes as long to start as to send. So if a read continues an
# earlier one, more is fetched ahead. Columns are read in turns, each from its own place.
_SEGMENT_BYTES = 4 * 2**20
_SEGMENTS_KEPT = 8
_AHEAD_BYTES = 2 * _SEGMENT_BYTES
_COLUMNS = 64
_READERS = 16

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BucketFileSystem(fs.FileSystemHandler):  # type: ignore[misc] # pyarrow publishes no types
    """Paths are ``<root>/<key>``."""

    def __init__(self, bucket: Bucket, root: str, type_name: str) -> None:
        self.bucket = bucket
        self._root = root
        self._type_name = type_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BucketFileSystem) and other.bucket is self.bucket

    def __hash__(self) -> int:
        return hash(self._root)

    def get_type_name(self) -> str:
        """Return the scheme."""
        return self._type_name

    def normalize_path(self, path: str) -> str:
        """Return the path as it is."""
        return path

    def key(self, path: str) -> str:
        """Return the key of a path."""
        return path.removeprefix(self._root).strip("/")

    def get_file_info(self, paths: Sequence[str]) -> list[fs.FileInfo]:
        """Look at each path."""
        return [self._info(self.bucket.look(self.key(path)), path) for path in paths]

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        """List what is below a folder; a listing that is not recursive shows folders too."""
        folder = self.key(selector.base_dir)
        found = list(self.bucket.below(folder) if selector.recursive else self.bucket.right_below(folder))
        if not found and not selector.allow_not_found and self.bucket.look(folder) is None:
            raise FileNotFoundError(selector.base_dir)
        return [self._info(one, f"{self._root}/{one.key}") for one in found]

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """Read an object whole."""
        return pa.PythonFile(io.BytesIO(self.bucket.read(self.key(path)).content), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open an object to be read in parts."""
        found = self.bucket.look(self.key(path))
        if found is None or found.is_folder:
            raise FileNotFoundError(path)
        return pa.PythonFile(ObjectFile(self.bucket, found), mode="r")

    def _info(self, found: ObjectInfo | None, path: str) -> fs.FileInfo:
        if found is None:
            return fs.FileInfo(path, fs.FileType.NotFound)
        if found.is_folder:
            return fs.FileInfo(path, fs.FileType.Directory)
        modified = (found.modified or _EPOCH) - _EPOCH
        return fs.FileInfo(
            path, fs.FileType.File, size=found.size, mtime_ns=modified // timedelta(microseconds=1) * 1000
        )

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError(f"{self._root} is only read through Arrow")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
    move = copy_file = open_output_stream = open_append_stream = _refuse


class _Segment(NamedTuple):
    """Bytes from ``start`` to before ``end``, fetched or being fetched."""

    start: int
    end: int
    content: Future[bytes]

    def part(self, start: int, end: int) -> bytes:
        """Wait for the bytes from ``start`` to ``end`` that this segment has."""
        return self.content.result()[start - self.start : end - self.start]


class ObjectFile:
    """One version of an object; sequential reads are fetched ahead."""

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
            yield self._fetch(at, min(end, at + _SEGMENT_BYTES))

    def _kept(self, start: int, end: int) -> Iterator[_Segment]:
        """Find or fetch the segments with the bytes up to ``end`` or the end of the file."""
        at = start
        while at < min(end, self._found.size):
            held = next((segment for segment in self._segments if segment.start <= at < segment.end), None)
            if held is None:
                held = self._fetch(at, min(self._found.size, at + _SEGMENT_BYTES))
                self._segments.append(held)
            yield held
            at = held.end

    def _fetch(self, start: int, end: int) -> _Segment:
        return _Segment(start, end, _readers().submit(self._bucket.read_range, self._found, start, end))


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_READERS, thread_name_prefix="lvm-batch-bucket")
