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
            "this process was started by multiprocessing as a daemon, so it cannot start local workers",
            "call this in the main process or one of its threads, or use workers elsewhere with --scheduler",
        )
    try:
        get_context("fork").Lock()
    except OSError as error:
        raise SurroundingsError(
            f"local workers need semaphores, so /dev/shm must be writable: {error.strerror}",
            "mount a tmpfs there (`docker run --tmpfs /dev/shm`), or use workers elsewhere with --scheduler",
        ) from error
    try:
        with socket.create_server((_HERE, 0)) as server:
            socket.create_connection(server.getsockname(), timeout=_ANSWER_S).close()
    except OSError as error:
        raise SurroundingsError(
            f"local workers use the address {_HERE}, which does not answer: {error.strerror or error}",
            "enable the loopback interface (`ip link set lo up`), or use workers elsewhere with --scheduler",
        ) from error
