"""Standard output and standard error of the command's own process.

The rule: a stream that is closed, full or gone breaks nothing. A write to stdout that failed is known at the end; a
reader that has stopped reading (``| head``) is not a failure.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

_STANDARD = range(3)


class _Descriptor(io.RawIOBase):
    """A file descriptor to which writes never raise; ``lost`` is the error of the first write that failed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.lost: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: Buffer, /) -> int:
        try:
            return os.write(self._descriptor, content)
        except BlockingIOError:  # another process has made the shared stream non-blocking
            select.select([], [self._descriptor], [])
            return 0
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.lost = self.lost or error
            return memoryview(content).nbytes


class Stream(io.TextIOWrapper):
    """Text on a file descriptor; characters that its encoding lacks are escaped."""

    def __init__(self, descriptor: int, encoding: str | None) -> None:
        self._raw = _Descriptor(descriptor)
        super().__init__(
            io.BufferedWriter(self._raw), encoding=encoding, errors="backslashreplace", line_buffering=True
        )

    @property
    def lost(self) -> OSError | None:
        """The error of the first write that failed, ``None`` if none did."""
        return self._raw.lost


def replace_streams() -> None:
    """Replace Python's stdout and stderr by such streams, and open each standard descriptor that is closed.

    Otherwise the next file opened would get the free number, and what is printed would go into that file.
    """
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no keyword
    sys.stdout = Stream(1, getattr(sys.stdout, "encoding", "utf-8"))
    sys.stderr = Stream(2, getattr(sys.stderr, "encoding", "utf-8"))


def stdout_error() -> OSError | None:
    """Return the error of the first failed write to stdout, ``None`` if all succeeded."""
    if not isinstance(sys.stdout, Stream):
        return None
    sys.stdout.flush()
    return sys.stdout.lost
