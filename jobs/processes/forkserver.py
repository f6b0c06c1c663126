"""A fork server that has imported everything, so that workers start at once as its copies.

The rule: importing torch takes seconds, so the server does it while the run is being planned, and every worker, also
one that replaces a dead one, is a copy of the server. Linux only: elsewhere it is not safe to fork a process with
so many libraries, and workers start on their own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from lvm_batch.jobs.errors import SurroundingsError
from lvm_batch.jobs.processes.child_processes import environment_for_children, safe_children
from lvm_batch.jobs.processes.local_needs import check_local_needs
from lvm_batch.jobs.processes.resources import huge_pages, usable_cores
from lvm_batch.jobs.processes.temporary_folders import short_socket_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import DefaultContext
    from multiprocessing.process import BaseProcess

P = ParamSpec("P")
T = TypeVar("T")

METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""How Dask starts its workers."""

PRELOAD = "lvm_batch.jobs.prediction.execution.worker_setup"
"""The module that the server imports, and a worker before its first task."""

_COPY, _DASK_WORKER = "lvm-batch", "Dask Worker process"
"""How the names of processes begin: ours, and the workers that Dask starts."""

_servers: set[str] = set()
_notes: list[Path] = []

_NOTE = "LVM_FORKSERVER_NOTE"
"""The variable that tells the server where a note for it may be."""

ALONE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""For libraries that make a thread pool when they are imported."""

_ENVIRONMENT = {
    **ALONE,  # a copy of the process has no threads
    # Arrow's allocator keeps freed memory, since each batch takes as much as the one before: reading takes 27 us a row
    # in place of 40 (2026-11-23).
    "MIMALLOC_PURGE_DELAY": "-1",
}


def start_forkserver() -> None:
    """Start the server unless it runs, and return without waiting for it.

    Raises ``SurroundingsError`` if local processes cannot work together on this machine.
    """
    check_local_needs()
    keep_main_out()
    if METHOD != "forkserver":
        return
    from multiprocessing import forkserver, resource_tracker, util

    forkserver.set_forkserver_preload([PRELOAD])
    with safe_children(), short_socket_paths():
        resource_tracker.ensure_running()  # which the server starts otherwise, and which unblocks Ctrl-C
        note = Path(util.get_temp_dir(), "note")  # removed with the server's socket
        environment = _ENVIRONMENT | huge_pages(os.environ) | {_NOTE: str(note)}
        with environment_for_children(environment), _ctrl_c_blocked():
            forkserver.ensure_running()
    if not _servers:
        _notes[:] = [note]
    _servers.add(METHOD)


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Start processes that Ctrl-C, which a terminal sends to them too, does not interrupt while they import."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_ctrl_c() -> None:
    """Let Ctrl-C through again, if this process is the server; what has come so far is forgotten.

    The server ignores it from now on. Its copies do what they choose.
    """
    if _NOTE in os.environ:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
        del os.environ[_NOTE]


def start_forkserver_early() -> None:
    """Start the server before anything is known of the run. What keeps it from starting is reported later."""
    with suppress(SurroundingsError, OSError, RuntimeError):
        start_forkserver()


def stop_forkserver() -> None:
    """End the server, if one runs, at once: it would take its modules down for 0.1 s, and hold stderr open."""
    if _servers:
        from multiprocessing import forkserver

        _servers.clear()
        with suppress(ProcessLookupError, TypeError):
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined] # noqa: SLF001


def leave_note(text: str) -> None:
    """Leave the server a note, which it reads once, when it has imported everything. Without a server, do nothing.

    A note that comes too late, or second, is not read.
    """
    while _notes:
        note = _notes.pop()
        with suppress(OSError):
            written = note.with_suffix(".part")
            written.write_text(text, encoding="utf-8")
            written.replace(note)


def read_note() -> str | None:
    """Return the note that the driver has left for this server, ``None`` in other processes or without one."""
    try:
        return Path(os.environ[_NOTE]).read_text(encoding="utf-8")
    except (KeyError, OSError):
        return None


def keep_main_out() -> None:
    """Keep workers and copies from importing the main module of this process, as multiprocessing has them do.

    They need nothing of it, and a script without ``if __name__ == "__main__"`` would run once more in each of them.
    Other processes that this one starts are as before.
    """
    from multiprocessing import spawn

    prepare = spawn.get_preparation_data
    if getattr(prepare, "func", None) is not _without_main:  # else an earlier call has done it
        spawn.get_preparation_data = partial(_without_main, prepare)


def _without_main(prepare: Callable[[str], dict[str, Any]], name: str) -> dict[str, Any]:
    values = prepare(name)
    is_ours = name.startswith((_COPY, _DASK_WORKER))
    return {key: value for key, value in values.items() if not (is_ours and key.startswith("init_main_from"))}


def in_forked_process(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call ``function`` in a copy of the server, and return its result or raise its error.

    If no server runs or the copy dies, the function is called in this process. The function, its arguments and its
    result are pickled.
    """
    if _servers:
        with suppress(EOFError):  # the copy has died
            return _in_a_copy(partial(function, *arguments, **options))
        _ensure_threads(usable_cores())
    return function(*arguments, **options)


def _ensure_threads(number: int) -> None:
    """Raise ``RuntimeError`` if so many threads cannot be started: OpenMP, which torch uses, would end the process."""
    done = threading.Event()
    waiting = [threading.Thread(target=done.wait, daemon=True) for _ in range(number)]
    try:
        for thread in waiting:
            thread.start()
    finally:
        done.set()


def _in_a_copy(task: Callable[[], T]) -> T:
    copy, ours = start_copy(partial(_answer, task))
    try:
        result, error = ours.recv()
    finally:
        ours.close()
        copy.kill()
        copy.join()
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return] # what the task returned


def _answer(task: Callable[[], object], caller: Connection) -> None:
    """Run the task, and send back its result or error."""
    answer: tuple[object, BaseException | None]
    try:
        answer = task(), None
    except BaseException as error:  # noqa: BLE001 - the caller raises it
        error.add_note("".join(traceback.format_exception(error)))
        answer = None, error
    caller.send(answer)


def start_copy(work: Callable[[Connection], None]) -> tuple[BaseProcess, Connection]:
    """Start ``work`` in a copy of the server, and return that process with a connection to what ``work`` is given.

    If no server runs, or none can, the process starts on its own.
    """
    context = cast("DefaultContext", get_context(METHOD))
    ours, theirs = context.Pipe()
    here = str(Path.cwd()), dict(os.environ)
    with safe_children():  # a server that has died is started anew
        copy = context.Process(target=_begin, args=(theirs, work, *here), name=_COPY, daemon=True)
        copy.start()
    theirs.close()
    return copy, ours


def _begin(
    caller: Connection, work: Callable[[Connection], None], folder: str, environment: dict[str, str]
) -> None:
    """Work in the driver's folder and environment, and end with the driver. Ctrl-C is left to the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_driver, name="lvm-batch-driver", daemon=True).start()
    os.chdir(folder)
    os.environ.update(environment)
    work(caller)


def _end_with_the_driver() -> None:
    """Exit when the driver has gone: a copy that still works would keep the server alive."""
    driver = parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
