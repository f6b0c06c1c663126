"""Observers of a run receive every event, and change nothing about the run."""

from __future__ import annotations

import socket
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from support.datasets import windows, write_windows

from lvm_batch.io.errors import OutputLocked
from lvm_batch.jobs import observed_run
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.errors import Terminated, TryAgain
from lvm_batch.jobs.observed_run import run_observed
from lvm_batch.jobs.prediction.execution.worker import Failure
from lvm_batch.jobs.prediction.observers import RunObserver, make_listener, report_failures
from lvm_batch.jobs.prediction.results.events import (
    RunEnded,
    RunStarted,
    UnitFailed,
    Waiting,
)
from lvm_batch.jobs.prediction.run import run
from lvm_batch.jobs.prediction.telemetry import lineage, pings, spans
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvm_batch.jobs.prediction.observers import RunBeginning, RunOutcome
    from lvm_batch.jobs.prediction.results.events import Event

pytestmark = pytest.mark.slow

N_ROWS = 40


class Recorder(RunObserver):
    """Keeps every call, as pairs of a method's name and its argument."""

    def __init__(self, calls: list[tuple[str, Any]] | None = None) -> None:
        self.calls: list[tuple[str, Any]] = [] if calls is None else calls

    def begin(self, run: RunBeginning) -> None:
        """Keep the call."""
        self.calls.append(("begin", run))

    def event(self, event: Event) -> None:
        """Keep the call, unless it is a sign of waiting."""
        if not isinstance(event, Waiting):
            self.calls.append(("event", event))

    def conclude(self, outcome: RunOutcome) -> None:
        """Keep the call."""
        self.calls.append(("conclude", outcome))

    def fail(self, error: BaseException) -> None:
        """Keep the call."""
        self.calls.append(("fail", error))

    @property
    def names(self) -> list[str]:
        """The names of the methods and events, in order."""
        return [type(argument).__name__ if name == "event" else name for name, argument in self.calls]


class Watched(NamedTuple):
    """A real run: its settings, the calls of its observer, and its outcome."""

    settings: RunSettings
    calls: list[tuple[str, Any]]
    outcome: RunOutcome


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, models: Path, scheduler: str) -> Watched:
    """A run over two units, with a recorder as its observer."""
    folder = tmp_path_factory.mktemp("watched")
    contexts, targets = windows()
    for name in "ab":
        write_windows(folder / f"in/{name}.parquet", contexts[:N_ROWS], targets[:N_ROWS])
    settings = RunSettings(
        dataset=(str(folder / "in"),),
        output=str(folder / "out"),
        model=str(models / "amn.pt"),
        scheduler=scheduler,
    )
    recorder = Recorder()
    outcome = run(settings, console=Console(json=True), observers=[recorder])
    return Watched(settings, recorder.calls, outcome)


def test_observers_receive_a_run_from_its_beginning_to_its_summary(watched: Watched) -> None:
    """Observers receive the plan and the output, each unit, the end of the work, and the summary of this run."""
    (_, beginning), *events = watched.calls
    assert (beginning.plan.n_rows, beginning.settings) == (2 * N_ROWS, watched.settings)
    started, *units, ended, end = [event for _, event in events]
    assert started == RunStarted(units=2, rows=2 * N_ROWS, units_done=0, rows_done=0, workers=started.workers)
    assert {unit.record.output for unit in units} == end.records.keys()
    assert ended == RunEnded("finished")
    assert (end.summary, end.error, end.is_news) == (watched.outcome.summary, None, True)
    assert len(end.computed) == 2


def test_observers_receive_a_run_that_finds_everything_done(watched: Watched) -> None:
    """Observers receive a beginning and a summary: no unit was computed, and nothing is news."""
    recorder = Recorder()
    run(watched.settings, console=Console(json=True), observers=[recorder])
    assert recorder.names == ["begin", "RunSummarised"]
    end = recorder.calls[-1][1]
    assert (end.computed, end.is_news) == ([], False)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A recorder in place of the observers of a run."""
    recorder = Recorder()
    monkeypatch.setattr(observed_run, "observers_of", lambda *_, **__: [recorder])
    return recorder


def test_the_outcome_is_shown_before_observers_conclude(watched: Watched, together: Recorder) -> None:
    """Then each observer receives conclude, once, and no fail."""
    outcome = run_observed(
        watched.settings,
        console=Console(json=True),
        show=lambda shown: together.calls.append(("show", shown)),
    )
    assert together.names == ["begin", "RunSummarised", "show", "conclude"]
    assert together.calls[-1] == ("conclude", outcome)


def test_an_outcome_that_cannot_be_shown_is_a_failure(watched: Watched, together: Recorder) -> None:
    """Observers receive fail with the error, and no conclude."""

    def broken(_: RunOutcome) -> None:
        raise ZeroDivisionError("no such luck")

    with pytest.raises(ZeroDivisionError):
        run_observed(watched.settings, console=Console(json=True), show=broken)
    assert together.names == ["begin", "RunSummarised", "fail"]


@pytest.mark.parametrize("step", ["prediction.planning.plan.check_extras", "observed_run.start_forkserver"])
def test_observers_receive_a_failure_before_the_beginning(
    watched: Watched, together: Recorder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Observers receive fail without a beginning."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"lvm_batch.jobs.{step}", stopped)
    settings = watched.settings.model_copy(update={"scheduler": None})
    with pytest.raises(KeyboardInterrupt):
        run_observed(settings, console=Console(json=True))
    assert together.names == ["fail"]


def test_all_observers_receive_a_failure_even_if_one_fails() -> None:
    """The last observer is called first; the others and the caller receive the error that it raises."""
    first, last = Recorder(), Recorder()

    class Broken(RunObserver):
        def fail(self, error: BaseException) -> None:
            raise KeyboardInterrupt from error

    with pytest.raises(KeyboardInterrupt), report_failures([first, Broken(), last]):
        raise TryAgain("later")
    assert [type(error) for _, error in last.calls] == [TryAgain]
    assert [type(error) for _, error in first.calls] == [KeyboardInterrupt]


def test_a_run_that_has_lost_its_output_is_shown_and_not_recorded() -> None:
    """The first observer, which displays, receives the event; the others, which write, do not."""

    class Lost:
        def check(self) -> None:
            raise OutputLocked("another run has taken over", "wait for it")

    shows, writes = Recorder(), Recorder()
    with pytest.raises(OutputLocked):
        make_listener([shows, writes], Lost())(RunEnded("interrupted"))
    assert (shows.names, writes.names) == (["RunEnded"], [])


def test_settings_choose_the_observers() -> None:
    """Progress, events and the report are always on."""
    names = observers_for({})
    assert names == ["ShownProgress", "EventLog", "ReportWriter"]
    options = {"history": "h", "metrics_file": "m.prom", "ping_url": "http://h/", "openlineage": "nightly"}
    options["opentelemetry"] = "nightly"
    assert observers_for(options) == [*names, "History", "Metrics", "Pings", "Lineage", "Spans"]


def observers_for(options: dict[str, str]) -> list[str]:
    """The names of a run's observers with these settings."""
    settings = RunSettings.model_validate(options)
    observers = observed_run.observers_of(settings, console=Console(), started=monotonic())
    return [type(observer).__name__ for observer in observers]


# Every observer


def watch(observer: RunObserver, watched: Watched, *, error: BaseException | None = None) -> None:
    """Replay the run to an observer, with a failed unit, and its end or ``error``."""
    replay: dict[str, Callable[[Any], None]] = {"begin": observer.begin, "event": observer.event}
    for name, argument in watched.calls:
        replay[name](argument)
        if isinstance(argument, RunStarted):
            observer.event(Waiting())
            observer.event(UnitFailed(Failure("c", "os", "disk full"), 10))
    if error:
        observer.fail(error)
    else:
        observer.conclude(watched.outcome)


class Place(NamedTuple):
    """Settings with which an observer must fail, and how many notes it writes."""

    options: dict[str, str]
    notes: int


def places(tmp_path: Path, port: int) -> dict[str, Place]:
    """Every observer, with settings that make it fail."""
    (tmp_path / "file").write_text("")
    return {
        "ShownProgress": Place({}, 0),
        "EventLog": Place({}, 0),
        "ReportWriter": Place({}, 1),
        "History": Place({"history": str(tmp_path / "file/below")}, 1),
        "Metrics": Place({"metrics_file": str(tmp_path / "nowhere/job.prom")}, 1),
        "Pings": Place({"ping_url": f"http://127.0.0.1:{port}/secret"}, 1),
        "Lineage": Place({"openlineage": "nightly"}, 1),
        "Spans": Place({"opentelemetry": "nightly"}, 1),
    }


@pytest.fixture
def failing(tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return an observer that must fail, its notes, and the expected number of notes."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(lineage, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(spans, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(pings, "_PAUSE_S", 0.01)
    monkeypatch.setattr("lvm_batch.jobs.reports.data.gather", partial(_raise, OSError("disk full")))

    def observer(name: str) -> tuple[RunObserver, list[str], int]:
        place = places(tmp_path, port)[name]
        console, notes = Console(), []
        monkeypatch.setattr(console, "note", lambda text, **_: notes.append(text))
        settings = RunSettings.model_validate(place.options | {"output": watched.settings.output})
        (matching,) = [
            each
            for each in observed_run.observers_of(settings, console=console, started=monotonic())
            if type(each).__name__ == name
        ]
        return matching, notes, place.notes

    return observer


def _raise(error: Exception, *_: object, **__: object) -> None:
    raise error


NAMES = ("ShownProgress", "EventLog", "ReportWriter", "History", "Metrics", "Pings", "Lineage", "Spans")


@pytest.mark.parametrize("name", NAMES)
def test_an_observer_that_fails_is_one_note(
    failing: Callable[[str], Any], watched: Watched, name: str
) -> None:
    """It raises nothing, however the run ends, and writes its note once."""
    pytest.importorskip("prometheus_client", reason='pip install "lvm-batch[metrics]"')
    pytest.importorskip("openlineage.client", reason='pip install "lvm-batch[openlineage]"')
    pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http", reason='pip install "lvm-batch[opentelemetry]"'
    )
    observer, notes, n_notes = failing(name)
    watch(observer, watched)
    assert len(notes) == n_notes, notes
    assert "secret" not in "".join(notes)
    observer, notes, n_notes = failing(name)
    watch(observer, watched, error=Terminated("stopped"))
    assert len(notes) == n_notes, notes


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_never_began_fails_no_observer(failing: Callable[[str], Any], name: str) -> None:
    """Observers receive only fail, and raise nothing."""
    pytest.importorskip("prometheus_client", reason='pip install "lvm-batch[metrics]"')
    observer, notes, _ = failing(name)
    observer.fail(TryAgain("later"))
    assert len(notes) <= 1
