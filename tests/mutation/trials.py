"""A module's tests, run in forks of one process that has everything imported but the project itself.

The rule: a fork sees the module as it is given to it, and nothing that a fork does reaches another. A fork that hangs
is ended, by its own CPU time, its memory, or once it waits for nothing: other work on the machine does not look like a
hang. Linux only, as it reads ``/proc``. This module does not know what was changed in the module.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, FrameType, ModuleType

_OPTIONS = (
    *("-x", "-q", "--tb=no", "--assert=plain", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # plugins are imported already
)
_SCRATCH = tempfile.mkdtemp(prefix="lvm-batch-mutants-")
_MIN_CPU_S = 5.0
_IDLE_S = 3.0
_MAX_BYTES = 4 << 30
_TIMES = 10
_LOOK_S = 0.2
_POLL_S = 0.01
_BUSY = frozenset("RD")


atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)  # a fork ends without it


@dataclass(frozen=True, slots=True)
class Subject:
    """A module by its dotted name and its file, and the test files that are asked about it."""

    name: str
    path: Path
    tests: tuple[str, ...]


@dataclass(slots=True)
class Seen:
    """What was seen of one test: its seconds of CPU time, and the lines of the module that it ran."""

    cpu_s: float = 0.0
    lines: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tests of a module as it is, by their names, and what they import."""

    tests: dict[str, Seen]
    imported: tuple[str, ...]

    def touching(self, lines: range) -> list[str]:
        """Return the tests that run any of ``lines``, the quickest first; all, where only importing runs them."""
        touching = [name for name, seen in self.tests.items() if not seen.lines.isdisjoint(lines)]
        return sorted(touching or self.tests, key=lambda name: self.tests[name].cpu_s)

    def longest_s(self, names: Iterable[str]) -> float:
        """Return the CPU time after which a fork that runs these tests is taken to hang."""
        return _MIN_CPU_S + _TIMES * sum(self.tests[name].cpu_s for name in names)


def observe(subject: Subject, code: CodeType) -> Baseline:
    """Run the tests of a module as it is; raises ``SystemExit`` where one fails."""
    observer = _Observer(str(subject.path))
    read, write = os.pipe()

    def observed() -> int:
        ended = _run_tests(subject, code, (observer,))
        tests = {name: [seen.cpu_s, sorted(seen.lines)] for name, seen in observer.tests.items()}
        with os.fdopen(write, "w") as pipe:
            json.dump([tests, _installed()], pipe)
        return ended

    child = _fork(observed, quiet=False)  # what its tests say is to be seen if they fail
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"the tests of {subject.name} fail without any mutation: {' '.join(subject.tests)}")
    tests, imported = json.loads(text)
    return Baseline({name: Seen(cpu_s, set(lines)) for name, (cpu_s, lines) in tests.items()}, imported)


def _installed() -> list[str]:
    """Return what is imported now from installed packages and the standard library, other than by pytest's running."""
    here = str(Path(__file__).parents[2])
    own = {name for name, module in sys.modules.items() if _lies_in(module, here)}
    return [name for name in sys.modules if name not in own and not name.startswith(("__", "lvm_batch"))]


def _lies_in(module: ModuleType, folder: str) -> bool:
    path = getattr(module, "__file__", None) or ""
    return path.startswith(folder) and "site-packages" not in path


def import_ahead(baseline: Baseline) -> None:
    """Import what the tests will want, other than the project and the tests themselves."""
    for name in baseline.imported:
        with suppress(Exception):  # what cannot be imported alone is imported by whoever needs it
            import_module(name)
    gc.freeze()  # pytest collects garbage at its end: forks need not look at what all of them share


def killed_by(subject: Subject, code: CodeType, tests: Sequence[str], baseline: Baseline) -> str | None:
    """Run ``tests`` with the module's code replaced; return what they end with, ``None`` if they pass."""
    child = _fork(lambda: _run_tests(subject, code, (_Chosen(tests),)))
    ended = _watched(child, baseline.longest_s(tests))
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests have started
    return ended


def _fork(work: Callable[[], int], *, quiet: bool = True) -> int:
    """Fork a process, in a group of its own, that does ``work`` and ends with the code it returns."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        if quiet:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nowhere, number)
        code = work()
    except BaseException:  # noqa: BLE001 - it must not come back into the process that forked
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _run_tests(subject: Subject, code: CodeType, plugins: Sequence[object]) -> int:
    """Run the subject's tests in this process, with ``code`` for the module."""
    sys.meta_path.insert(0, _Given(subject, code))
    sys.dont_write_bytecode = True
    # A failing example is enough: nobody reads it. The same examples are drawn each time.
    settings.register_profile(
        "mutants", phases=(Phase.explicit, Phase.generate), database=None, derandomize=True
    )
    settings.load_profile("mutants")
    return int(
        pytest.main([*_OPTIONS, f"--basetemp={_SCRATCH}/tests", *subject.tests], plugins=list(plugins))
    )


def _watched(child: int, max_cpu_s: float) -> str | None:
    """Wait for a fork; return how it failed, ``None`` if it passed. One that hangs is ended."""
    idle_s = 0.0
    looked = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return f"exit {code}" if code else None
        time.sleep(_POLL_S)
        if time.monotonic() - looked < _LOOK_S:
            continue
        looked = time.monotonic()
        idle_s = max(0.0, idle_s - 1.0) if _is_busy(child) else idle_s + _LOOK_S
        if idle_s > _IDLE_S or _cpu_s(child) > max_cpu_s or _bytes(child) > _MAX_BYTES:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hung"


def _is_busy(process: int) -> bool:
    """Whether a thread of a process runs, waits for a core, or for a disk."""
    states = set()
    for stat in Path(f"/proc/{process}/task").glob("*/stat"):
        with suppress(OSError):
            states.add(_stat(stat)[0])
    return not _BUSY.isdisjoint(states)


def _cpu_s(process: int) -> float:
    fields = _stat(Path(f"/proc/{process}/stat"))
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _bytes(process: int) -> int:
    return int(_stat(Path(f"/proc/{process}/stat"))[21]) * os.sysconf("SC_PAGE_SIZE")


def _stat(file: Path) -> list[str]:
    """Return the fields behind the command's name, which may hold anything."""
    return file.read_text().rpartition(")")[2].split()


class _Given(MetaPathFinder, Loader):
    """Gives a module the code that it is to have, whoever imports it."""

    def __init__(self, subject: Subject, code: CodeType) -> None:
        self._subject = subject
        self._code = code

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self._subject.name:
            return None
        return spec_from_file_location(fullname, self._subject.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 - it is the module's


class _Chosen:
    """Runs some of the collected tests, in the order given."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._places]
        items.sort(key=lambda item: self._places[item.nodeid])


class _Observer:
    """Notes for each test how long it takes and which lines of one file it runs, in whatever thread."""

    def __init__(self, file: str) -> None:
        self.tests: dict[str, Seen] = {}
        self._file = file
        self._now = Seen()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._now = self.tests[item.nodeid] = Seen()
        began = time.process_time()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            self._now.cpu_s = time.process_time() - began

    def _trace(self, frame: FrameType, *_: object) -> Callable[..., object] | None:
        return self._line if frame.f_code.co_filename == self._file else None

    def _line(self, frame: FrameType, *_: object) -> Callable[..., object]:
        self._now.lines.add(frame.f_lineno)
        return self._line
