"""Standard error as JSON lines: one object for each message, and nothing else.

The rule: everything that is written to standard error, by a library, a worker process or C code, becomes JSON, one
object a line, without the credentials that URLs may hold. Lines of Dask's log keep their logger and level. Other text
that reaches file descriptor 2 is passed on as it is; lines that arrive together are one message.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, TextIO

from lvm_batch.io.storage.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

STDERR = 2

# The default of `distributed.admin.log-format`.
_DASK_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - ([\w.]+) - ([A-Z]+) - ", re.MULTILINE)
_CHUNK = 2**16
_END = b"\0no more\0\n"
_END_WAIT_S = 2


class JsonLog:
    """Writes JSON lines, from several threads if need be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor: int | None = None

    def write(self, level: str, message: str, **fields: object) -> None:
        """Write one line; errors of the stream (a closed pipe, a full disk) are ignored."""
        values = {"at": datetime.now(UTC).isoformat(), "level": level, "message": message, **fields}
        line = json.dumps(_plain(values), allow_nan=False)
        with self._lock, suppress(OSError, ValueError):
            self._put(f"{line}\n")

    @contextmanager
    def taking_all(self) -> Iterator[None]:
        """In the block, also write what libraries log and warn, and what children write to stderr."""
        handler = _Handler(self)
        logging.getLogger().addHandler(handler)
        logging.captureWarnings(capture=True)
        try:
            with self._taking_stderr():
                yield
        finally:
            logging.captureWarnings(capture=False)
            logging.getLogger().removeHandler(handler)

    @contextmanager
    def _taking_stderr(self) -> Iterator[None]:
        if not _is_descriptor(sys.stderr):
            yield  # it is replaced by another file, as in tests
            return
        kept = os.dup(STDERR)
        ours, theirs = os.pipe()
        os.dup2(theirs, STDERR)
        reader = threading.Thread(target=self._forward, args=(ours,), name="stderr", daemon=True)
        reader.start()
        self._descriptor = kept
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, STDERR)
            os.write(theirs, _END)
            reader.join(
                _END_WAIT_S
            )  # the pipe stays open: a child that writes to it later must not die of it
            self._descriptor = None
            os.close(kept)

    def _put(self, line: str) -> None:
        if self._descriptor is None:
            sys.stderr.write(line)
            sys.stderr.flush()
            return
        content = line.encode()
        while content:
            content = content[os.write(self._descriptor, content) :]

    def _forward(self, pipe: int) -> None:
        rest = b""
        while chunk := os.read(pipe, _CHUNK):
            whole, end, rest = (rest + chunk).rpartition(b"\n")
            text = (whole + end).removesuffix(_END)
            for part in _split(text.decode(errors="replace")):
                self._write_part(part)
            if text != whole + end:
                return

    def _write_part(self, text: str) -> None:
        found = _DASK_LINE.match(text)
        logger, level = (found[1], found[2].lower()) if found else ("stderr", "warning")
        if message := text[found.end() if found else 0 :].strip("\n"):
            self.write(level, message, logger=logger)


class _Handler(logging.Handler):
    """Passes on what libraries log."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        more = {"traceback": trace} if trace else {}
        self._log.write(record.levelname.lower(), record.getMessage().rstrip(), logger=record.name, **more)


def _split(text: str) -> list[str]:
    """Cut text before each line of Dask's log; a traceback stays with its line."""
    starts = [found.start() for found in _DASK_LINE.finditer(text)]
    edges = [0, *starts, len(text)]
    return [text[first:last] for first, last in pairwise(edges) if first < last]


def _is_descriptor(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() == STDERR
    except (OSError, ValueError, AttributeError):
        return False


def _plain(value: object) -> object:
    """Return ``value`` as JSON can hold it: texts without credentials, null for NaN and infinity."""
    match value:
        case str():
            return redact(value)
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(name): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case bool() | int() | None:
            return value
    return redact(str(value))
