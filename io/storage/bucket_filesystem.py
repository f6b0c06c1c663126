"""A bucket as an Arrow file system to read from.

The rule: nothing is written here. If an exception ends a write, Arrow publishes the part that was written
(arrow#40502).
"""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

import pyarrow as pa
from pyarrow import fs

from lvm_batch.io.storage.object_file import ObjectFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.storage.bucket import Bucket
    from lvm_batch.io.storage.bucket_objects import ObjectInfo

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
        return pa.PythonFile(self.open_object(path), mode="r")

    def open_object(self, path: str) -> ObjectFile:
        """Open an object to be read in parts, some of which may be fetched ahead."""
        found = self.bucket.look(self.key(path))
        if found is None or found.is_folder:
            raise FileNotFoundError(path)
        return ObjectFile(self.bucket, found)

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
