"""Colours: on a terminal only, and only what the words say anyway."""

from __future__ import annotations

import io
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from lvm_batch.jobs.cli import main
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.errors import GateFailed, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    Printed = Callable[..., tuple[str, str]]

ANSI = re.compile(r"\x1b\[[0-9;]*m")
RED, YELLOW, GREEN = (re.compile(rf"\x1b\[(1;)?3{code}m") for code in (1, 3, 2))


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Printed:
    """What a terminal gets on stdout and stderr from a warning, a result and its error."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def print_all(*, json: bool = False, **environ: str) -> tuple[str, str]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        console = Console(json=json)
        console.note("much is escalated", level="warning")
        text = "units     2 units failed\noutput    out (_SUCCESS written)"
        console.result({"rows": 1}, text, error=GateFailed("too much", "look"))
        return out.getvalue(), err.getvalue()

    return print_all


def test_the_words_that_matter_are_coloured_on_a_terminal(printed: Printed) -> None:
    """Errors and failures are red, warnings yellow, success green; without colours the text is the same."""
    out, err = printed()
    assert [bool(RED.search(text)) for text in (out, err)] == [True, True]
    assert YELLOW.search(err)
    assert GREEN.search(out)
    assert ANSI.sub("", out) == "units     2 units failed\noutput    out (_SUCCESS written)\n"
    assert ANSI.sub("", err) == "warning: much is escalated\nerror: too much\n  what to do: look\n"


def test_a_terminal_may_have_no_colours(printed: Printed) -> None:
    """NO_COLOR takes the colours, and a dumb terminal gets plain text."""
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", "".join(printed(NO_COLOR="1")))
    assert "\x1b" not in "".join(printed(TERM="dumb"))


def test_json_has_no_colours_on_a_terminal(printed: Printed) -> None:
    """One JSON object is one JSON object."""
    out, _ = printed(json=True)
    assert json.loads(out)["error"]["message"] == "too much"


def test_a_file_gets_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal nothing is coloured, neither results nor help."""
    Console().failed("job", [Problem("a", "b")])
    assert main(["run", "--help"]) == 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err


def test_help_has_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headings and names stand out; the text is the one that a file gets."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = {}
    for kind in (Terminal, io.StringIO):
        monkeypatch.setattr(sys, "stdout", stream := kind())
        assert main(["run", "--help"]) == 0
        shown[kind] = stream.getvalue()
    assert "\x1b[36m  --output" in shown[Terminal]
    assert ANSI.sub("", shown[Terminal]) == shown[io.StringIO]
