"""The Prefect flow, run by Prefect itself: the state that each exit code becomes."""

from __future__ import annotations

import importlib.util
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from support.callers import ROWS_A_DAY, WORKFLOWS, Site, day_before, make_site, today

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

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


def ends_with(monkeypatch: pytest.MonkeyPatch, code: int, printed: dict[str, Any]) -> None:
    """Replace the command by one that exits at once."""
    monkeypatch.setenv("ENDS_WITH", str(code))
    monkeypatch.setenv("PRINTS", json.dumps(printed))


ERROR = {"error": {"kind": "gate", "message": "2.1% of the rows are bad_input", "hint": "look at status"}}


def test_a_night_is_predicted_and_then_found_done(flows: ModuleType, site: Site) -> None:
    """The state's message names the rows and the output; a second run computes nothing."""
    state = flows.nightly(f"{today()}", return_state=True)
    assert state.is_completed(), state.message
    assert site.summary["units_computed"] == 1
    assert state.message == f"{ROWS_A_DAY} rows in {site.output}"
    assert flows.nightly(return_state=True).is_completed()
    assert site.summary["units_computed"] == 0
    assert site.called[-3:] == ["--as-of", f"{today()}", "--json"]


@pytest.mark.parametrize("code", [1, 2, 3, 70])
def test_a_failure_is_a_failed_state_at_once(
    flows: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """The state shows the command's error and hint; the log has no traceback, and nothing is retried."""
    ends_with(monkeypatch, code, ERROR)
    runs: list[int] = []
    monkeypatch.setattr(flows, "command", lambda as_of: runs.append(1) or [flows.LVM_BATCH, as_of])
    with caplog.at_level(logging.DEBUG, logger="prefect"):
        state = flows.nightly("2026-11-23", return_state=True)
    assert state.is_failed()
    assert f"exit code {code}: {ERROR['error']['message']}; what to do: look at status" in state.message
    assert len(runs) == 1
    assert "Traceback" not in caplog.text


def test_75_is_tried_again(flows: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another run holds the output at first, a later try completes the night."""
    done = {"rows_out": 7, "output": "/out"}
    answers = iter([(75, ERROR), (75, ERROR), (0, done)])

    def command(as_of: str) -> list[str]:
        ends_with(monkeypatch, *next(answers))
        return [flows.LVM_BATCH, as_of]

    monkeypatch.setattr(flows, "command", command)
    state = flows.nightly("2026-11-23", return_state=True)
    assert (state.is_completed(), state.message) == (True, "7 rows in /out")
    assert list(answers) == []


def test_a_command_that_was_killed_is_a_failed_state(
    flows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints nothing; the state says how it ended."""
    monkeypatch.setattr(flows, "command", lambda _: ["/bin/sh", "-c", "kill -9 $$"])
    state = flows.nightly("2026-11-23", return_state=True)
    assert state.is_failed()
    assert state.message.startswith("exit code -9: it was ended from outside")
