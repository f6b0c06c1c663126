"""The ``lvm-batch`` command: its subcommands, and how each way of ending becomes an exit code.

The rule: whatever happens, the user gets one clear error in the form asked for, and the exit code says what
to do. A command is added by one line below; this module does not know what any of them does.

    0 done   1 finished with failed units   2 usage, settings or input   3 a gate failed
    70 a bug   75 try again   130, 143 interrupted
"""

from __future__ import annotations

import gc
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from lvm_batch.jobs.child_processes import be_safe
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
from lvm_batch.jobs.console import Console
from lvm_batch.jobs.endings import BUG, exit_code_of
from lvm_batch.jobs.errors import Interrupted, JobError, Problem, SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(no_args_is_help=False, pretty_exceptions_enable=False)
app.command()(run.run)
app.command()(plan.plan)
app.command()(status.status)
app.command()(report.report)
app.command()(verify.verify)
app.command()(monitor.monitor)
app.command()(inspect.inspect)
app.command()(pack.pack)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(serve.serve)
app.command()(bench.bench)
app.command()(demo.demo)
app.add_typer(bank.app, name="bank")
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")


def command() -> int:
    """Be the ``lvm-batch`` command: what :func:`main` does, as the last thing that this process does."""
    be_safe()
    _open_closed_streams()
    code = main()
    gc.freeze()  # or the interpreter would look through all of torch before it ends, for half a second
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (the process's own by default) and return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    console = Console.for_arguments(arguments, os.environ)
    with console.taking_stderr():
        try:
            return _called(arguments, console)
        except Exception as error:  # noqa: BLE001 - the one door that every failure of a command leaves by
            return _failed(error, console)


def _open_closed_streams() -> None:
    """Let what is said be lost where the caller has closed stdout or stderr (``>&-``), and nothing else."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - for the process's life


def _called(arguments: Sequence[str], console: Console) -> int:
    try:
        code: int | None = app(args=arguments, prog_name="lvm-batch", standalone_mode=False, obj=console)
    except typer.TyperException as error:
        raise _usage_error(error) from error
    except typer.Abort as error:  # typer's answer to an EOFError too
        raise error.__cause__ or error  # noqa: B904 - it is the cause
    if code == Interrupted.exit_code:  # typer's answer to Ctrl-C
        raise Interrupted("interrupted", "run the same command again to resume")
    return code or 0


def _failed(error: Exception, console: Console) -> int:
    # Only here, so that help needs neither room.
    from lvm_batch.io.errors import DataError
    from lvm_batch.lvm.errors import ModelError

    if not isinstance(error, (JobError, DataError, ModelError)):
        hint = "this is a bug in lvm-batch; report it with the traceback"
        console.failed("bug", [Problem(f"{type(error).__name__}: {error}", hint)], error)
        return BUG
    several = error.problems if isinstance(error, SettingsError) and len(error.problems) > 1 else ()
    console.failed(error.kind, [Problem(*error.args), *several], error if console.verbose else None)
    return exit_code_of(error)


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
    """Predict the next vector of every context in a dataset, on as many cores or machines as there are."""
