"""Tests of the line on a terminal that says what takes a moment: it is there at once, and goes when more is printed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer

from lvm_batch.jobs.command_line import app
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.count import Count
from lvm_batch.jobs.console.progress import Progress
from lvm_batch.jobs.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

LOADS = {
    "run": ["run", "in", "--output", "out"],
    "run --dry-run": ["run", "in", "--output", "out", "--dry-run"],
    "plan": ["plan", "in", "--output", "out"],
    "status": ["status", "out"],
    "show": ["show", "out"],
    "report": ["report", "out"],
    "verify": ["verify", "out"],
    "monitor": ["monitor", "--history", "history"],
    "inspect": ["inspect", "in"],
    "pack": ["pack", "in", "--output", "out"],
    "train": ["train", "in", "--arch", "amn", "--output", "out"],
    "evaluate": ["evaluate", "in"],
    "serve": ["serve"],
    "bench": ["bench"],
    "demo": ["demo"],
    "bank build": ["bank", "build", "in", "--output", "out"],
    "models list": ["models", "list"],
    "models show": ["models", "show", "amn"],
    "models verify": ["models", "verify", "amn"],
    "models promote": ["models", "promote", "amn"],
    "models convert": ["models", "convert", "amn", "amn.safetensors"],
    "models export": ["models", "export", "amn", "--output", "amn.onnx"],
    "models release": ["models", "release", "amn", "--output", "released"],
}
"""The commands that load heavy libraries, each called as a user would."""

QUICK = {"config show", "config schema", "models rollback"}
"""The commands that load none."""

SAID_BEFORE_LOADING = """
import importlib.abc, io, json, sys
from lvm_batch.jobs.cli import main

class Terminal(io.StringIO):
    def isatty(self):
        return True

class HeavyImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "numpy", "pyarrow", "dask", "distributed", "matplotlib"}:
            said.setdefault(command, sys.stderr.getvalue())
            raise ImportError(name)

said = {}
sys.meta_path.insert(0, HeavyImport())
for command, arguments in json.loads(sys.argv[1]).items():
    sys.stderr, sys.stdout = Terminal(), io.StringIO()
    main(arguments)
sys.stdout = sys.__stdout__
print(json.dumps(said))
"""


class Terminal(io.StringIO):
    """A terminal that remembers what was written to it."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal as standard error; pytest puts its own there before each test."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stderr := Terminal())
    return stderr


def test_every_command_is_here() -> None:
    """A new command says what it does, or is quick."""
    assert set(commands_of(typer.main.get_command(app))) == (LOADS.keys() | QUICK) - {"run --dry-run"}


def commands_of(group: Any, before: str = "") -> Iterator[str]:  # noqa: ANN401 - typer's groups have no public type
    """The names of all commands in a group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_every_command_says_what_it_does_before_it_loads_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading takes seconds: a line is on the terminal before any heavy library is."""
    monkeypatch.setenv("TERM", "xterm")
    code = [sys.executable, "-c", SAID_BEFORE_LOADING, json.dumps(LOADS)]
    said = json.loads(subprocess.run(code, capture_output=True, text=True, check=True).stdout)
    assert {command for command in LOADS if not said.get(command, "").endswith(" …")} == set()


@pytest.mark.parametrize("then", ["note", "result", "failed", "bar"])
def test_the_line_goes_when_more_is_printed(monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """Whatever is printed next takes the line's place, so that nothing of it stays."""
    terminal, console = terminal_of(monkeypatch), Console()
    console.doing("loading torch")
    assert terminal.getvalue() == "loading torch …"
    match then:
        case "note":
            console.note("device: cpu")
        case "result":
            console.result({"rows": 1})
        case "failed":
            console.failed("usage", [Problem("no output is given", "give --output")])
        case "bar":
            with Progress(console, "packing", Count("row")):
                pass
    assert terminal.getvalue().startswith("loading torch …\r\x1b[2K")


def test_the_line_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of any length and with any characters leaves one line that can be removed."""
    terminal = terminal_of(monkeypatch)
    Console().doing("reading \n\x1b[31m" + "long" * 100)
    text = terminal.getvalue()
    assert "\n" not in text
    assert "\x1b" not in text
    assert 0 < len(text) < 80


def test_no_line_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A log does not get it: it would be noise there."""
    Console().doing("loading torch")
    Console(log_format="json").doing("loading torch")
    assert capsys.readouterr() == ("", "")
