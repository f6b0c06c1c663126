"""``lvm-batch report``: a page that shows what a job did, or how two jobs differ."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import takes_console
from lvm_batch.jobs.settings.paths import path_argument


@takes_console
def report(
    output: Annotated[
        str, typer.Argument(help="The output folder of a run.", metavar="OUT", parser=path_argument)
    ],
    other: Annotated[
        str | None,
        typer.Argument(
            help="Another output folder, to compare with the first.", metavar="OUT2", parser=path_argument
        ),
    ] = None,
    *,
    console: Console,
    file: Annotated[
        str | None,
        typer.Option(
            "--output",
            help="Where to write the page, a path or a URL. Default: report.html in OUT/_lvm_batch, or "
            "comparison-ID.html there, with the id of OUT2's job.",
            metavar="FILE",
            parser=path_argument,
        ),
    ] = None,
) -> None:
    """Show on a page what the job in OUT did, or how OUT2 differs.

    The page is one HTML file with nothing to load. A job that is not finished is shown as far as
    it is.

    Examples:
        lvm-batch report out/
        lvm-batch report out/ out-of-last-week/
        lvm-batch report out/ --output /srv/pages/night.html
    """
    console.doing(f"reading {output}")
    from lvm_batch.jobs.reports.comparison.compare import compare
    from lvm_batch.jobs.reports.report import report as write_report

    console.result(*(write_report(output, file=file) if other is None else compare(output, other, file=file)))
