"""The command line of ``lvm-batch``: its subcommands, and the exit code for each way to end.

The rule: whatever happens, the user gets one clear error in the chosen form, and the exit code says what to do. A name
in ``GROUPS`` adds a command.

    0 done   1 finished with failed units   2 usage, settings or input   3 a gate failed
    70 a bug   75 try again   130, 143 interrupted
"""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from lvm_batch.jobs.commands import (
    bank,
    bench,
    config,
    demo,
    evaluate,
    inspect,
    models,
    monitor,
    pack,
    plan,
    report,
    run,
    serve,
    status,
    train,
    verify,
)
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.exit_codes import BUG, exit_code_of, reported_error
from lvm_batch.jobs.console.help import HELP_NAMES, Context, HelpCommand, HelpGroup
from lvm_batch.jobs.console.pasted import without_secrets
from lvm_batch.jobs.errors import Interrupted, JobError, Problem, SettingsError, TryAgain, UsageError
from lvm_batch.jobs.processes.streams import stdout_error
from lvm_batch.jobs.settings.options import SECRET_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GROUPS: Mapping[str, tuple[Callable[..., int | None] | typer.Typer, ...]] = {
    "Start here": (demo.demo, inspect.inspect, pack.pack, train.train, bank.app, run.run, status.show),
    "Every night": (plan.plan, status.status, verify.verify, monitor.monitor, report.report),
    "Models": (evaluate.evaluate, models.app),
    "Serving and speed": (serve.serve, bench.bench),
    "Settings": (config.app,),
}
"""The commands, under their headings and in the order of the help."""


class _Commands(HelpGroup):
    """All commands; typer would list those with subcommands last."""

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 - typer's signature
        """Return the names in the order of the help."""
        return [_name(part) for parts in GROUPS.values() for part in parts]


def _name(part: Callable[..., int | None] | typer.Typer) -> str:
    return str(part.info.name if isinstance(part, typer.Typer) else part.__name__)


app = typer.Typer(
    cls=_Commands, context_settings=HELP_NAMES, rich_markup_mode=None, pretty_exceptions_enable=False
)
for _heading, _parts in GROUPS.items():
    for _part in _parts:
        if isinstance(_part, typer.Typer):
            app.add_typer(_part, rich_help_panel=_heading)
        else:
            app.command(cls=HelpCommand, rich_help_panel=_heading)(_part)


def run_command_line(arguments: Sequence[str]) -> int:
    """Run the command line ``arguments`` and return the exit code; without arguments, print the help."""
    arguments = list(arguments) or ["--help"]
    console = Console.for_arguments(without_secrets(arguments, SECRET_FLAGS), os.environ)
    with console.taking_stderr():
        try:
            code = _called(arguments, console)
        except Exception as error:  # noqa: BLE001 - the one door that every failure of a command leaves by
            code = _failed(error, console)
        return _unless_lost(code, console)


def _unless_lost(code: int, console: Console) -> int:
    """Return ``code``; if the result could not be printed, say why and return 75 in place of 0.

    The output of the run is complete, and the same command prints its result again at once. So it is not an error for
    people (2), but a caller that reads stdout must not take it for done (0) either.
    """
    if (lost := stdout_error()) is None:
        return code
    hint = "the output itself is not affected; check where stdout goes, then run the same command again"
    console.note(
        f"error: the result could not be printed: {lost.strerror}\n  what to do: {hint}", level="error"
    )
    return code or TryAgain.exit_code


def _called(arguments: Sequence[str], console: Console) -> int:
    try:
        code: int | None = app(args=arguments, prog_name="lvm-batch", standalone_mode=False, obj=console)
    except typer.TyperException as error:
        raise _usage_error(error) from error
    except (typer.Abort, SystemExit) as ended:  # how typer answers EOFError and EPIPE
        raise ended.__context__ or ended  # noqa: B904 - the error as it was
    if code == Interrupted.exit_code:  # how typer answers Ctrl-C
        raise Interrupted("interrupted", "run the same command again to resume")
    return code or 0


def _failed(error: Exception, console: Console) -> int:
    reported, code = reported_error(error), exit_code_of(error)
    if code == BUG:
        hint = "this is a bug in lvm-batch: report it with the traceback"
        console.failed("bug", [Problem(f"{type(error).__name__}: {error}", hint)], error)
        return BUG
    several = reported.problems if isinstance(reported, SettingsError) and len(reported.problems) > 1 else ()
    kind = getattr(reported, "kind", JobError.kind)
    console.failed(kind, [Problem.of(reported), *several], error if console.verbose else None)
    return code


def _usage_error(error: typer.TyperException) -> UsageError:
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context else "lvm-batch"
    return UsageError(error.format_message().rstrip("."), f"`{command} --help` shows what it takes")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        typer.echo(f"lvm-batch {version('lvm-batch')}")
        raise typer.Exit


@app.callback()
def lvm_batch(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Predict the next vector of every context in a dataset, on as many cores or machines as there are.

    Examples:
        lvm-batch demo
        lvm-batch inspect data/
        lvm-batch run data/ --model amn/best_model.pt --bank bank/ --output out/
        lvm-batch run --help
    """
