"""Errors that print the whole command to paste."""

from __future__ import annotations

import json
import shlex
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_batch.io.errors import ColumnError
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.cli import main
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.pasted import instead_of, with_flag, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    Fails = Callable[..., None]


class Ambiguous(ColumnError):
    """Two columns that could be one part."""

    def __init__(self, part: str) -> None:
        super().__init__(f"two columns can be {part}", "say which")
        self.flags = (f"--{part}-column a", f"--{part}-column 'b c'")


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Fails:
    """Make `plan` fail with ambiguous columns of these parts."""

    def ambiguous(part: str) -> None:
        raise Ambiguous(part)

    def fail_with(*parts: str) -> None:
        def preview_job(*_: object, **__: object) -> None:
            checks = Checks()
            for part in parts:
                checks.run(lambda part=part: ambiguous(part))
            checks.raise_all()

        module = SimpleNamespace(preview_job=preview_job)
        monkeypatch.setitem(sys.modules, "lvm_batch.jobs.prediction.planning.preview", module)

    return fail_with


def test_an_error_prints_the_command_for_each_alternative(
    fails: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line that was given is printed with each of the flags, ready to paste."""
    fails("vector")
    assert main(["plan", "my data", "--output", "out"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: two columns can be vector",
        "  what to do: say which",
        "    lvm-batch plan 'my data' --output out --vector-column a",
        "    lvm-batch plan 'my data' --output out --vector-column 'b c'",
    ]


def test_each_of_several_problems_has_its_commands(fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON too, where each problem lists its commands."""
    fails("vector", "article")
    assert main(["plan", "data", "--output", "out", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["message"] == "2 problems found"
    assert [problem["commands"][0].split(" --json ")[1] for problem in error["problems"]] == [
        "--vector-column a",
        "--article-column a",
    ]


def test_flags_go_before_two_dashes() -> None:
    """Words after -- are no options."""
    assert with_flag(["run", "--", "-x"], "--limit 3") == "lvm-batch run --limit 3 -- -x"


@given(st.lists(st.text(min_size=1).filter(lambda word: word != "--"), min_size=1))
def test_a_pasted_command_is_the_given_one(arguments: list[str]) -> None:
    """A shell splits the printed line into the arguments that were given, whatever they hold."""
    assert shlex.split(with_flag(arguments, "--pad zero")) == ["lvm-batch", *arguments, "--pad", "zero"]


@pytest.mark.parametrize("part", [("--part", "3/16"), ("--part=3/16",), ()])
def test_an_option_is_replaced_in_both_spellings(part: tuple[str, ...]) -> None:
    """Its value goes with it, and nothing else does."""
    line = instead_of(["run", "a b", *part, "--output", "out", "--", "3/16"], "--part", "--finish")
    assert shlex.split(line) == ["lvm-batch", "run", "a b", "--output", "out", "--finish", "--", "3/16"]


def test_the_command_that_ends_a_job_is_told_in_words_if_the_part_is_from_elsewhere() -> None:
    """From the environment, say, where schedulers put it."""
    told = {
        arguments: Console.for_arguments(list(arguments)).command_with("--finish", without="--part")
        for arguments in (("run", "a", "--part=1/2"), ("run", "a"))
    }
    assert list(told.values()) == [
        "lvm-batch run a --finish",
        "the same command with --finish in place of --part",
    ]


def test_a_pasted_command_shows_no_secret() -> None:
    """The address of a health check is hidden in both spellings of an option."""
    given_line = ["run", "a", "--ping-url", "https://h/1", "--ping-url=https://h/2", "b"]
    assert without_secrets(given_line, ("--ping-url",)) == [
        *("run", "a", "--ping-url", "***", "--ping-url=***", "b")
    ]


def test_main_hides_the_secrets_of_a_run(fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    """The command's own door knows which options are secret."""
    fails("vector")
    main(["plan", "data", "--output", "out", "--ping-url", "https://hc-ping.com/uuid"])
    err = capsys.readouterr().err
    assert "uuid" not in err
    assert "--ping-url '***' --vector-column a" in err
