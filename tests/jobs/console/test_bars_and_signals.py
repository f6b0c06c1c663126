"""What progress is shown as where there is a terminal or none, and Ctrl-C in a process of somebody else's."""

from __future__ import annotations

import logging
import signal
import threading

import pytest
import rich.console

from lvm_batch.jobs.console import console as consoles
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.signals import interrupt_on_ctrl_c


@pytest.mark.parametrize(
    ("place", "has_widgets", "shows"),
    [
        ({"force_terminal": True}, False, True),
        ({"force_terminal": False}, True, False),
        ({"force_jupyter": True}, True, True),
        ({"force_jupyter": True}, False, False),
        ({"force_terminal": True, "quiet": True}, True, False),
        ({"force_jupyter": True, "quiet": True}, True, False),
    ],
)
def test_a_bar_is_shown_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, *, place: dict[str, bool], has_widgets: bool, shows: bool
) -> None:
    """On a terminal and in Jupyter with its widgets; elsewhere there are lines, and nothing if it is quiet."""
    monkeypatch.setattr(consoles, "find_spec", lambda _: object() if has_widgets else None)
    console = Console()
    console.progress = rich.console.Console(**place)
    assert console.shows_bars is shows


def test_a_quiet_console_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Its notes are not printed."""
    Console(quiet=True).note("nothing")
    Console().note("something")
    assert capsys.readouterr() == ("", "something\n")


def test_ctrl_c_is_raised_each_time_and_silences_dask(request: pytest.FixtureRequest) -> None:
    """Python's own handler is put back afterwards, and so is the level of Dask's log."""
    before_all = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # another test's import may have set one
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before_all))
    dask = logging.getLogger("distributed")
    before = dask.level
    for _ in range(2):
        with interrupt_on_ctrl_c():
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
            assert dask.level == logging.CRITICAL
    assert dask.level == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_the_caller_stay() -> None:
    """Those for SIGINT and SIGTERM that it has set; a thread has none to set."""
    got: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.signal(number, lambda number, _: got.append(number))
        try:
            with interrupt_on_ctrl_c():
                signal.raise_signal(number)
        finally:
            signal.signal(number, before)
    assert got == [signal.SIGINT, signal.SIGTERM]

    def in_a_thread() -> None:
        with interrupt_on_ctrl_c():
            got.append(0)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert got[-1] == 0
