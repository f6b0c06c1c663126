"""A command's options are generated from the settings."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from typer import Typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.fields import is_switch, is_table, metavar
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.run import SETTINGS, RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings, flag_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[ResolvedSettings[RunSettings], Console]]


@pytest.fixture
def run() -> Run:
    """Call a command with every setting by a command line, and return its settings."""
    app, seen = Typer(), []

    @app.command()
    @takes_settings(required=())
    @takes_console
    def command(resolved: ResolvedSettings[RunSettings], *, console: Console) -> None:
        seen.append((resolved, console))

    def called(
        *arguments: str, console: Console | None = None
    ) -> tuple[ResolvedSettings[RunSettings], Console]:
        app(args=arguments, standalone_mode=False, obj=console)
        return seen.pop()

    return called


def test_every_setting_has_one_option(run: Run) -> None:
    """Each setting except tables is one option."""
    tables = {name for name in SETTINGS if is_table(RunSettings, name)}
    named = [name for name in SETTINGS if name not in {"dataset", *tables}]
    resolved, _ = run("a", "b", *(part for name in named for part in _example(name)))
    assert {name for name, origin in resolved.origins.items() if origin != "flag"} == tables
    assert resolved.settings.dataset == ("a", "b")


def _example(name: str) -> tuple[str, ...]:
    if is_switch(RunSettings, name):
        return (flag_of(name),)
    examples = {
        "ADDRESS": "127.0.0.1:1",
        "NUMBER": "0.5",
        "N": "3",
        "SIZE": "1MiB",
        "SECONDS": "3",
        "OLD=NEW": "a=b",
        "URL": "https://h/1",
        "MIN:MAX": "1:2",
        "N/OF": "1/2",
        "TABLE": "delta",
    }
    by_name = {"as_of": "now", "since": "2026-11-22", "until": "2026-11-23", "lookback": "1d", "drop": "b"}
    shown = metavar(RunSettings, name)
    return flag_of(name), by_name.get(name) or examples.get(shown, shown.split("|")[0])


@pytest.mark.parametrize(("option", "value"), [("--no-prediction", True), ("--prediction", False)])
def test_a_switch_has_two_options(
    run: Run, monkeypatch: pytest.MonkeyPatch, option: str, *, value: bool
) -> None:
    """Either overrules the environment; neither takes a value."""
    monkeypatch.setenv("LVM_BATCH_NO_PREDICTION", str(not value))
    assert run()[0].settings.no_prediction is not value
    resolved, _ = run(option)
    assert (resolved.settings.no_prediction, resolved.origins["no_prediction"]) == (value, "flag")


def test_what_is_not_given_is_a_default(run: Run) -> None:
    """A missing option leaves the setting to the other sources."""
    resolved, _ = run()
    assert set(resolved.origins.values()) == {"default"}


def test_a_repeated_option_collects_its_values(run: Run) -> None:
    """The values of a repeated option replace the default."""
    resolved, _ = run("--high-stakes-lane", "law", "--high-stakes-lane", "sci-fact")
    assert resolved.settings.high_stakes_lane == ("law", "sci-fact")


def test_the_environment_is_read_when_a_command_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable set after the command was declared counts."""
    monkeypatch.setenv("LVM_BATCH_DEVICE", "cpu")
    resolved, _ = run()
    assert resolved.settings.device == "cpu"


def test_a_command_gets_the_console_that_main_made(run: Run) -> None:
    """Main reads --json and --verbose once; the command gets the same console."""
    console = Console.for_arguments(["--json", "-v"])
    _, seen = run("--json", "-v", console=console)
    assert seen is console
    assert (seen.json, seen.verbose) == (True, True)


def test_own_options_stay_beside_the_shared_ones() -> None:
    """A command's own parameters keep their place in the signature, before the shared ones."""

    @takes_console
    def command(name: str, *, console: Console) -> None: ...

    assert list(inspect.signature(command).parameters) == ["name", "context", "json", "verbose", "log_format"]


def test_words_after_two_dashes_are_no_options() -> None:
    """A dataset may be called --json."""
    assert not Console.for_arguments(["run", "--", "--json"]).json
