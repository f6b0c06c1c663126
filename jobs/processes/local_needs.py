"""What local processes need to work together: a parent that may have children, semaphores, the loopback interface.

The rule: what is missing is reported before any process is started.
"""

from __future__ import annotations

import socket
from multiprocessing import current_process, get_context

from lvm_batch.jobs.errors import SurroundingsError

_HERE = "127.0.0.1"
_ANSWER_S = 10


def check_local_needs() -> None:
    """Raise :class:`SurroundingsError` if workers cannot be started or reached on this machine."""
    if current_process().daemon:
        raise SurroundingsError(
            "a process that multiprocessing has started as a daemon, as this one, cannot start local workers",
            "call this in the main process or a thread of it, or use workers elsewhere with --scheduler",
        )
    try:
        get_context("fork").Lock()
    except OSError as error:
        raise SurroundingsError(
            f"local workers need semaphores, which /dev/shm must be writable for: {error.strerror}",
            "mount a tmpfs there (`docker run --tmpfs /dev/shm`), or use workers elsewhere with --scheduler",
        ) from error
    try:
        with socket.create_server((_HERE, 0)) as server:
            socket.create_connection(server.getsockname(), timeout=_ANSWER_S).close()
    except OSError as error:
        raise SurroundingsError(
            f"local workers are reached at {_HERE}, which does not answer: {error.strerror or error}",
            "enable the loopback interface (`ip link set lo up`), or use workers elsewhere with --scheduler",
        ) from error
