"""Progress: a bar on a terminal, lines at intervals elsewhere, even while no unit ends."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
import rich.console
from support.documents import record_of

from lvm_batch.jobs.console import progress
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.prediction.execution.worker import Failure
from lvm_batch.jobs.prediction.results.events import RunEnded, RunStarted, UnitDone, UnitFailed, Waiting
from lvm_batch.jobs.prediction.telemetry.progress import ShownProgress

STARTED = RunStarted(units=10, rows=1000, units_done=0, rows_done=0, workers=2)


@pytest.fixture
def console() -> Console:
    """A console whose stderr is a file."""
    console = Console()
    console.progress = rich.console.Console(file=io.StringIO(), width=200, force_terminal=False)
    return console


def printed(console: Console) -> list[str]:
    """The lines on stderr."""
    return console.progress.file.getvalue().splitlines()


def test_lines_appear_while_no_unit_ends(console: Console) -> None:
    """A unit may take longer than the interval; before one is done, no remaining time is known."""
    tell = ShownProgress(console, every_s=0).event
    tell(STARTED)
    tell(Waiting())
    tell(RunEnded("finished"))
    assert printed(console) == ["0 of 1,000 rows (0%), 0 rows/s"]


def test_failed_units_are_counted_and_not_remaining(console: Console) -> None:
    """Their rows are not counted as remaining."""
    tell = ShownProgress(console, every_s=0).event
    tell(STARTED)
    for _ in range(2):
        tell(UnitFailed(Failure("a", "os", "disk full"), 450))
    assert printed(console)[-1].endswith(", 2 units failed")
    tell(UnitDone(record_of(output="b", rows_in=100)))
    assert printed(console)[-1].endswith("2 units failed")


def test_lines_do_not_come_too_often(console: Console) -> None:
    """The interval holds however many units end."""
    tell = ShownProgress(console, every_s=3600).event
    tell(STARTED)
    for _ in range(100):
        tell(UnitDone(record_of(output="b", rows_in=10)))
    assert not printed(console)


def test_rows_that_go_through_a_command_are_shown(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """All batches pass through unchanged; without a terminal there are lines, each with its share."""
    monkeypatch.setattr(progress.Pause, "is_over", True)
    batches = [SimpleNamespace(n_read=n_read) for n_read in (30, 70)]
    assert list(progress.watch_rows(batches, console, what="judging", n_rows=100)) == batches
    first, second = printed(console)
    assert first.startswith("judging: 30 of 100 rows (30%), ")
    assert second.startswith("judging: 100 of 100 rows (100%), ")


def test_files_that_are_read_are_shown(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found in each file passes through unchanged, also without a console."""
    monkeypatch.setattr(progress.Pause, "is_over", True)
    assert list(progress.watch_files("ab", console, what="reading footers", n_files=2)) == ["a", "b"]
    assert printed(console)[0].startswith("reading footers: 1 of 2 files (50%), ")
    assert list(progress.watch_files("ab", None, what="reading footers", n_files=2)) == ["a", "b"]


def test_a_terminal_has_a_bar_and_no_lines() -> None:
    """The bar shows its label, rows, rate and failures."""
    console = Console()
    console.progress = rich.console.Console(file=io.StringIO(), width=200, force_terminal=True)
    tell = ShownProgress(console, every_s=0).event
    tell(STARTED)
    tell(UnitDone(record_of(output="b", rows_in=100)))
    tell(UnitFailed(Failure("a", "os", "disk full"), 450))
    tell(RunEnded("finished"))
    text = console.progress.file.getvalue()
    assert "rows (" not in text
    assert "100 of 1,000 rows" in text
    assert "predicting" in text
    assert "1 unit failed" in text


def test_a_bar_fits_a_narrow_terminal() -> None:
    """The bar itself gives way; label and figures of millions of rows stay whole in 80 columns."""
    console = Console()
    console.progress = rich.console.Console(file=io.StringIO(), width=80, force_terminal=True)
    tell = ShownProgress(console).event
    tell(RunStarted(units=10, rows=12_345_678, units_done=0, rows_done=0, workers=2))
    tell(UnitFailed(Failure("a", "os", "disk full"), 450))
    tell(RunEnded("finished"))
    assert "0 of 12,345,678 rows  0 rows/s  1 unit failed" in console.progress.file.getvalue()
