"""The commands that documents show: each is one that the command line takes, and the reference lists all options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from support.command_reference import PAGE, reference_text

from lvm_batch.jobs.command_line import app

TOP = Path(__file__).parents[3]
DOCUMENTS = sorted(
    {*TOP.glob("*.md"), *(TOP / "docs").glob("*.md"), *(TOP / "workflows").glob("*.md")} - {PAGE}
)
SHOWN = re.compile(r"^ *(?:\$ )?((?:[A-Z_]+=\S+ )*lvm-batch [^\n\\]*(?:\\\n[^\n\\]*)*)", re.MULTILINE)
FENCED = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```|((?:^ {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("…", "...")  # a line that is cut


def commands_of(text: str) -> list[str]:
    """The commands in a document's blocks of code, each on one line, without comments and what follows a pipe."""
    blocks = ["".join(groups) for groups in FENCED.findall(text)]
    shown = [line for block in blocks for line in SHOWN.findall(block)]
    return [
        re.split(r" [|>&#]|;| \|\|", " ".join(line.replace("\\\n", " ").split()))[0].strip() for line in shown
    ]


def parse(line: str) -> None:
    """Parse a command line as the command would, without running it; raises typer's error."""
    words = [word for word in shlex.split(line) if word not in ELSEWHERE]
    words = words[words.index("lvm-batch") + 1 :]
    command: Any = typer.main.get_command(app)
    context = command.make_context("lvm-batch", [], resilient_parsing=True)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
        context = command.make_context(command.name, [], parent=context, resilient_parsing=True)
    context.resilient_parsing = False
    command.make_parser(context).parse_args(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_every_command_shown_is_one(document: Path) -> None:
    """Its subcommand and its options exist, and each option has its value."""
    wrong = []
    for line in commands_of(document.read_text(encoding="utf-8")):
        try:
            parse(line)
        except Exception as error:  # noqa: BLE001 - each is named
            wrong.append(f"{line}: {error}")
    assert not wrong


def test_a_wrong_command_is_noticed() -> None:
    """An option or subcommand that does not exist, and a value that is missing."""
    for line in (
        "lvm-batch run data --outptu out",
        "lvm-batch models demote x",
        "lvm-batch run data --output",
    ):
        with pytest.raises(Exception, match=r"."):
            parse(line)
    assert commands_of("Text\n\n    $ lvm-batch run a \\\n        --output b  # comment\n") == [
        "lvm-batch run a --output b"
    ]


def test_the_reference_has_every_option() -> None:
    """If this fails, ``make stubs`` writes docs/commands.md anew: a command, an option or its help has changed."""
    assert PAGE.read_text(encoding="utf-8") == reference_text()
