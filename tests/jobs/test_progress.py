"""Progress where nobody watches: a line now and then, whatever happens or does not."""

from __future__ import annotations

from documents import record_of

from lvm_batch.jobs.prediction.execution.events import RunEnded, RunStarted, UnitDone, UnitFailed, Waiting
from lvm_batch.jobs.prediction.execution.worker import Failure
from lvm_batch.jobs.prediction.telemetry.progress import ProgressLines

STARTED = RunStarted(units=10, rows=1000, units_done=0, rows_done=0, workers=2)


def test_a_line_comes_also_while_nothing_ends() -> None:
    """A unit may take longer than a line; before any is done nobody knows what is left."""
    said: list[str] = []
    tell = ProgressLines(said.append, every_s=0)
    tell(STARTED)
    tell(Waiting())
    tell(RunEnded("finished"))
    assert said == ["0 of 1,000 rows (0%), 0 rows/s"]


def test_failed_units_are_counted_and_not_waited_for() -> None:
    """Their rows are not left to be done."""
    said: list[str] = []
    tell = ProgressLines(said.append, every_s=0)
    tell(STARTED)
    for _ in range(2):
        tell(UnitFailed(Failure("a", "os", "disk full"), 450))
    assert said[-1].endswith(", 2 units failed")
    tell(UnitDone(record_of(output="b", rows_in=100)))
    assert said[-1].endswith("2 units failed, about 0 s left")


def test_lines_do_not_come_too_often() -> None:
    """However many units end."""
    said: list[str] = []
    tell = ProgressLines(said.append, every_s=3600)
    tell(STARTED)
    for _ in range(100):
        tell(UnitDone(record_of(output="b", rows_in=10)))
    assert not said
