"""The Prefect flow, run by Prefect itself: the state that a run or its error becomes."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

import pytest
from support.callers import ROWS_A_DAY, WORKFLOWS, Site, day_before, make_site, today

import lvm_batch
from lvm_batch.io.errors import DataError, OutputLocked
from lvm_batch.jobs.errors import GateFailed, TryAgain, UnitsFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from lvm_batch.errors import LvmBatchError

pytest.importorskip("prefect", reason="prefect is not installed: pip install 'lvm-batch[prefect]'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # warnings from Prefect's own modules are Prefect's concern
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, models: Path, bank: Path, scheduler: str) -> Site:
    """A machine with one day of input."""
    site = make_site(tmp_path_factory.mktemp("prefect"), models=models, bank=bank, scheduler=scheduler)
    site.add_day(day_before(1))
    return site


@pytest.fixture(scope="module")
def flows(site: Site) -> Iterator[ModuleType]:
    """The flow's module, with a Prefect server for the duration of the tests."""
    try:
        from prefect.testing.utilities import prefect_test_harness
    except TypeError as error:  # Prefect passes an argument that newer FastAPI versions lack
        pytest.skip(f"prefect's own server does not go with this fastapi: {error}")

    path = site.root / "prefect_flow.py"
    path.write_text(site.placed((WORKFLOWS / "prefect_flow.py").read_text()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        with prefect_test_harness(server_startup_timeout=300):
            yield _loaded(path)


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("prefect_flow", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.predict.retry_delay_seconds = 0
    return module


@pytest.fixture(autouse=True)
def _environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)


def test_a_night_is_predicted_and_then_found_done(flows: ModuleType, site: Site) -> None:
    """The state's message names the rows and the output; a second run computes nothing."""
    state = flows.nightly(f"{today()}", return_state=True)
    assert state.is_completed(), state.message
    assert site.summary["units_computed"] == 1
    assert state.message == f"{ROWS_A_DAY} rows in {site.output}"
    assert flows.nightly(return_state=True).is_completed()
    assert site.summary["units_computed"] == 0


@pytest.mark.parametrize(
    "error",
    [
        UnitsFailed("1 of the inputs' parts has no output", "look"),
        DataError("no such file", "look"),
        GateFailed("2.1% of the rows are bad_input", "look"),
    ],
)
def test_an_error_is_a_failed_state_at_once(
    flows: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: LvmBatchError,
) -> None:
    """The state shows the error and its hint; the log has no traceback, and nothing is retried."""
    calls = answers_of(monkeypatch, error)
    with caplog.at_level(logging.DEBUG, logger="prefect"):
        state = flows.nightly("2026-11-23", return_state=True)
    assert state.is_failed()
    assert f"{error.kind}: {error.message}; what to do: look" in state.message
    assert calls == ["2026-11-23"]
    assert "Traceback" not in caplog.text


def test_what_may_pass_is_tried_again(flows: ModuleType, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another run holds the output at first, or the scheduler is away, a later try completes the night."""
    flows.nightly(f"{today()}", return_state=True)
    calls = answers_of(monkeypatch, OutputLocked("held", "wait"), TryAgain("away", "wait"))
    state = flows.nightly(f"{today()}", return_state=True)
    assert (state.is_completed(), state.message) == (True, f"{ROWS_A_DAY} rows in {site.output}")
    assert len(calls) == 3


def answers_of(monkeypatch: pytest.MonkeyPatch, *errors: LvmBatchError) -> list[str]:
    """Let the first calls of ``lvm_batch.run`` raise ``errors``; returns the days of all calls as they come."""
    run, waiting, calls = lvm_batch.run, list(errors), []

    def call(**given: Any) -> lvm_batch.RunResult:  # noqa: ANN401 - of any setting
        calls.append(given["as_of"])
        if waiting:
            raise waiting.pop(0)
        return run(**given)

    monkeypatch.setattr(lvm_batch, "run", call)
    return calls
