"""``lvm-batch verify``: every file of an output against its record."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import takes_console
from lvm_batch.jobs.settings.paths import path_argument


@takes_console
def verify(
    output: Annotated[
        str, typer.Argument(help="The output folder of a run.", metavar="OUT", parser=path_argument)
    ],
    *,
    console: Console,
) -> int:
    """Read every file in OUT again, and compare it with its record.

    Footers, rows, sizes and checksums are compared.

    Examples:
        lvm-batch verify out/
    """
    console.doing(f"reading {output} again")
    from lvm_batch.jobs.prediction.results.verify import verify as verify_output

    values, text, error = verify_output(output)
    console.result(values, text, error=error)
    return error.exit_code if error else 0
