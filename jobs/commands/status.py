"""``lvm-batch status`` and ``lvm-batch show``: how far the job in an output folder is, and a few of its rows."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import takes_console
from lvm_batch.jobs.settings.paths import path_argument


@takes_console
def status(
    output: Annotated[
        str, typer.Argument(help="The output folder of a run.", metavar="OUT", parser=path_argument)
    ],
    *,
    console: Console,
) -> None:
    """Say how far the job in OUT is, and what came of it so far.

    Examples:
        lvm-batch status out/
        lvm-batch status s3://bucket/out --json
    """
    console.doing(f"reading {output}")
    from lvm_batch.jobs.prediction.results.status import status as read_status

    console.result(*read_status(output))


@takes_console
def show(
    output: Annotated[
        str, typer.Argument(help="The output folder of a run.", metavar="OUT", parser=path_argument)
    ],
    *,
    console: Console,
    rows: Annotated[int, typer.Option("--rows", metavar="N", help="How many rows to show.", min=1)] = 10,
    route: Annotated[
        Literal["amn", "gru"] | None,
        typer.Option("--route", metavar="amn|gru", help="Show rows whose prediction is this model's."),
    ] = None,
    status: Annotated[
        Literal["ok", "short_context", "bad_input"] | None,
        typer.Option("--status", metavar="ok|short_context|bad_input", help="Show rows of this status."),
    ] = None,
    worst: Annotated[
        bool, typer.Option("--worst", help="Show the rows with the lowest cosines, the lowest first.")
    ] = False,
) -> None:
    """Show the first rows of OUT, or the worst ones.

    Rows that are committed are shown, also while a run is at it.

    Examples:
        lvm-batch show out/
        lvm-batch show out/ --worst --rows 20
    """
    console.doing(f"reading {output}")
    from lvm_batch.io.output.row_search import RowQuery
    from lvm_batch.jobs.prediction.results.shown_rows import show_rows
    from lvm_batch.jobs.prediction.results.shown_table import RowsTable

    shown = show_rows(output, RowQuery(rows, route=route, status=status, worst=worst))
    console.result(shown.to_json(), RowsTable(shown))
