"""The help of the command: groups, options by topic, and examples that work."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from lvm_batch.jobs.cli import main
from lvm_batch.jobs.command_line import GROUPS, app
from lvm_batch.jobs.console.help import EXAMPLES
from lvm_batch.jobs.settings.fields import help_mark, is_table
from lvm_batch.jobs.settings.run import SETTINGS, RunSettings
from lvm_batch.jobs.settings.sources import flag_of

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 80


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def commands(group: Any, *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 - typer's have no names
    """Every command below ``group``, with the words that call it."""
    for name, command in group.commands.items():
        yield (*above, name), command
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)


EVERY = dict(commands(typer.main.get_command(app)))


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The help of a command, as it is printed."""
    assert main([*words, "-h"]) == 0
    return capsys.readouterr().out


def section(text: str, heading: str) -> list[str]:
    """The lines under a heading."""
    return text.split(f"\n{heading}:\n")[1].split("\n\n", maxsplit=1)[0].splitlines()


@pytest.mark.parametrize("words", [(), *EVERY], ids=" ".join)
def test_help_fits_80_columns(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """No line of any help is wider than a terminal."""
    assert max(map(len, help_of(capsys, *words).splitlines())) <= WIDTH


@pytest.mark.parametrize("words", [(), ("run",), ("models", "verify")], ids=" ".join)
def test_h_is_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """-h prints what --help prints, for the command and all its parts."""
    assert main([*words, "--help"]) == 0
    assert capsys.readouterr().out == help_of(capsys, *words)


def test_commands_stand_in_groups_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Each group lists its commands in the declared order, each in one line; without arguments, the same is printed."""
    text = help_of(capsys)
    for heading, parts in GROUPS.items():
        assert len(section(text, heading)) == len(parts)
    assert [line.split()[0] for line in section(text, "Start here")][:2] == ["demo", "inspect"]
    assert main([]) == 0
    assert capsys.readouterr().out == text


def test_the_order_of_options_follows_from_their_declarations(capsys: pytest.CaptureFixture[str]) -> None:
    """The options marked as common come first, in their order; every other one stands under its own heading."""
    text = help_of(capsys, "run")
    named = [line.split()[0] for line in section(text, "Common options") if line.startswith("  --")]
    marks = {name: help_mark(RunSettings, name) for name in SETTINGS if not is_table(RunSettings, name)}
    common = [flag_of(name) for name, mark in marks.items() if mark.common]
    assert ["DATASET", *named] == [*common, "--config", "--dry-run", "--json", "--log-format"]
    for name, mark in marks.items():
        assert mark.common or any(line.split()[0] == flag_of(name) for line in section(text, mark.panel))


def test_a_short_help_has_no_topics(capsys: pytest.CaptureFixture[str]) -> None:
    """A dozen options stand in one list."""
    assert "--models-dir DIR" in "\n".join(section(help_of(capsys, "models", "list"), "Options"))


def test_defaults_are_shown_and_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    """Zero is a default too, and a mark such as [default: auto] stays on one line."""
    text = help_of(capsys, "train")
    assert "[default: 0]" in text
    assert "[default: auto]" in text


def test_what_must_be_given_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    """Dataset and output of a run are required; a file may give them as well."""
    text = help_of(capsys, "run")
    assert "[required]" in " ".join(section(text, "Arguments"))
    assert "[required]" in " ".join(section(text, "Common options")[:2])


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_examples_are_command_lines_that_the_command_takes(words: tuple[str, ...]) -> None:
    """Every command ends its help with examples, and each is parsed by the command itself."""
    command = EVERY[words]
    if hasattr(command, "commands"):
        return
    lines = command.help.partition(EXAMPLES)[2].strip().splitlines()
    assert lines
    for line in lines:
        given = shlex.split(line.strip(), comments=True)
        given = given[: given.index(">")] if ">" in given else given
        assert given[: 1 + len(words)] == ["lvm-batch", *words]
        command.make_context(words[-1], given[1 + len(words) :])
