"""What a function shows of its parameters: names, types and meanings, from the declarations of the settings."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

import lvm_batch
from lvm_batch.jobs.commands import bank as bank_commands
from lvm_batch.jobs.commands import evaluate, plan, run, train
from lvm_batch.jobs.commands import inspect as inspect_command
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.jobs.settings.fields import is_table, names_of
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.train import TrainSettings

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run.run,
    "plan": plan.plan,
    "inspect": inspect_command.inspect,
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "build_bank": bank_commands.build,
}
OF_COMMANDS = {"context", "json", "verbose", "log_format", "dry_run", "config"}
OF_FUNCTIONS = {"progress", "config"}


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that ``help`` and editors show."""
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_function_takes_what_its_command_takes(name: str) -> None:
    """By the same names, and the tables of a file besides; only what is for the terminal is left out."""
    tables = {each for each in names_of(RunSettings) if is_table(RunSettings, each)}
    here = parameters(getattr(lvm_batch, name)).keys() - OF_FUNCTIONS - tables
    assert here == parameters(COMMANDS[name]).keys() - OF_COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_is_documented(name: str) -> None:
    """``help`` has an entry for each, and only the first may stand without its name."""
    function = getattr(lvm_batch, name)
    first, *others = parameters(function).values()
    assert first.kind is first.POSITIONAL_OR_KEYWORD
    assert {each.kind for each in others} == {first.KEYWORD_ONLY}
    named = inspect.getdoc(function).replace("``", "\n").splitlines()
    assert not [each for each in parameters(function) if each not in named and name != "build_bank"]


@pytest.mark.parametrize(
    ("function", "name", "annotation"),
    [
        ("run", "dataset", "str | PathLike[str] | Sequence[str | PathLike[str]] | None"),
        ("run", "output", "str | PathLike[str] | None"),
        ("run", "models_dir", "str | PathLike[str] | None"),
        ("run", "high_stakes_lane", "str | Sequence[str] | None"),
        ("run", "pad", "Literal['repeat', 'zero', 'reject'] | None"),
        ("run", "unit_size", "int | str | None"),
        ("run", "memory_limit", "int | str | None"),
        ("run", "since", "str | date | None"),
        ("run", "ping_url", "str | None"),
        ("run", "slurm", "Mapping[str, Any] | None"),
        ("run", "min_confidence", "float | None"),
        ("train", "epochs", "int | None"),
        ("run", "progress", "bool"),
        ("evaluate", "calibrate", "bool"),
    ],
)
def test_a_type_says_what_may_be_given(function: str, name: str, annotation: str) -> None:
    """Paths may be ``Path`` objects, lists may be one value, sizes numbers or texts, times texts or dates."""
    assert parameters(getattr(lvm_batch, function))[name].annotation == annotation


@pytest.mark.parametrize("kind", [RunSettings, TrainSettings, EvaluateSettings])
def test_defaults_are_documented(kind: type) -> None:
    """The signature says None, since a file may say otherwise; the documentation has the value that holds at last."""
    functions = {
        RunSettings: lvm_batch.run,
        TrainSettings: lvm_batch.train,
        EvaluateSettings: lvm_batch.evaluate,
    }
    text = " ".join(inspect.getdoc(functions[kind]).split())
    for name, field in kind.model_fields.items():
        assert parameters(functions[kind])[name].default is None
        if isinstance(field.default, float | int) and not hasattr(field.default, "human_readable"):
            assert f"{field.description.split()[-1]} Default: {field.default}" in text
