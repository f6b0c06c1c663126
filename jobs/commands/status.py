"""``lvm-batch status``: how far the job in an output folder is."""

from __future__ import annotations

from typing import Annotated

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
    """Say how far the job in OUT is, and what came of it so far."""
    from lvm_batch.jobs.prediction.results.status import status as read_status

    console.result(*read_status(output))
