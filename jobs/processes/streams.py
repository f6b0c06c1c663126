"""Standard output and standard error of the command's own process.

The rule: a stream that is closed, full or gone breaks nothing. What could not be written to stdout is known at the end;
whoever has stopped reading (``| head``) wanted no more.
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
    """A file descriptor that writing to never fails; ``lost`` is why the first write did, if any."""

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
        except BlockingIOError:  # another process has made what they share non-blocking
            select.select([], [self._descriptor], [])
            return 0
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.lost = self.lost or error
            return memoryview(content).nbytes


class Stream(io.TextIOWrapper):
    """Text on a file descriptor; what its encoding does not have is written as Python writes it."""

    def __init__(self, descriptor: int, encoding: str | None) -> None:
        self._raw = _Descriptor(descriptor)
        super().__init__(
            io.BufferedWriter(self._raw), encoding=encoding, errors="backslashreplace", line_buffering=True
        )

    @property
    def lost(self) -> OSError | None:
        """Why something is not there that has been written, if that is so."""
        return self._raw.lost


def take_streams() -> None:
    """Put such streams in the place of Python's own, and let all three standard descriptors lead somewhere.

    A file that is opened while one is closed would have its number, and get what is printed.
    """
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no keyword
    sys.stdout = Stream(1, getattr(sys.stdout, "encoding", "utf-8"))
    sys.stderr = Stream(2, getattr(sys.stderr, "encoding", "utf-8"))


def lost_output() -> OSError | None:
    """Return why a part of stdout could not be written, if that is so."""
    if not isinstance(sys.stdout, Stream):
        return None
    sys.stdout.flush()
    return sys.stdout.lost
