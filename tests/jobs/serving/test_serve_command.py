"""``lvm-batch serve`` as a process, and what it refuses before it listens."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import requests
from support.waiting import HANG_S

from lvm_batch.jobs.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

COMMAND = "import sys; from lvm_batch.jobs.cli import main; sys.exit(main())"
needs_extra = pytest.mark.skipif(find_spec("fastapi") is None, reason='pip install "lvm-batch[serve]"')


@needs_extra
def test_sigterm_ends_it_with_0_and_its_counts(models: Path) -> None:
    """It prints its address on stderr, stops on SIGTERM, and prints one JSON object on stdout."""
    chosen = ["--model", str(models / "amn.pt"), "--models-dir", str(models / "none"), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "serve", *chosen, "--drain", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    url = next(filter(None, (re.search(r"http://[\d.]+:\d+", line) for line in process.stderr)))
    assert requests.get(f"{url[0]}/ready", timeout=HANG_S).json()["models"]["gru"] is None
    query = {"context": [[0.5] * 768] * 5}
    assert requests.post(f"{url[0]}/predict", json=query, timeout=HANG_S).json()["route"] == "amn"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert json.loads(output) == {"url": url[0], "n_requests": 1, "n_rows": 1}


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, lvm_batch: Callable[..., Any]) -> None:
    """Without FastAPI the hint is the command that installs it."""
    monkeypatch.setattr("lvm_batch.jobs.extras.find_spec", lambda _: None)
    result = lvm_batch("serve")
    assert result.code == 2
    assert result.values["error"]["hint"] == 'pip install "lvm-batch[serve]"'


@needs_extra
def test_a_port_in_use_is_an_error(lvm_batch: Callable[..., Any], models: Path) -> None:
    """The error for a port of another process says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = lvm_batch("serve", "--model", models / "amn.pt", "--port", other.getsockname()[1])
    assert result.code == 2
    assert "--port" in result.values["error"]["hint"]


@needs_extra
def test_no_connection_is_accepted_before_the_models_are_loaded(
    lvm_batch: Callable[..., Any], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While models load, the port refuses connections; if another process takes it meanwhile, the command fails."""
    from lvm_batch.jobs.serving import serve

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    load, others = serve.load, []

    def loading(settings: object) -> object:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        others.append(socket.create_server(("127.0.0.1", port)))
        return load(settings)  # type: ignore[arg-type]

    monkeypatch.setattr(serve, "load", loading)
    result = lvm_batch("serve", "--model", models / "amn.pt", "--models-dir", models / "none", "--port", port)
    others[0].close()
    assert result.code == 2
    assert f"port {port}" in result.values["error"]["message"]


@needs_extra
def test_all_problems_with_models_are_reported(
    lvm_batch: Callable[..., Any], models: Path, tmp_path: Path
) -> None:
    """Models and bank are checked as for a run, all of them before the port opens."""
    chosen = ("--model", models / "gru.pt", "--fallback", tmp_path / "none.pt", "--bank", tmp_path)
    result = lvm_batch("serve", *chosen, "--port", 0)
    assert result.code == 2
    assert len(result.values["error"]["problems"]) == 3


def test_help_shows_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    """It lists the options of a service, and the options of a run that affect an answer."""
    assert main(["serve", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"--{name}" in shown for name in ("max-batch", "max-queue", "max-body", "min-margin", "pad"))
    assert "--unit-size" not in shown
