"""``lvm-batch bank``: banks of known vectors, against which confidence and margin are measured."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import takes_console
from lvm_batch.jobs.settings.paths import path_argument

app = typer.Typer(help="Make banks of known vectors.")


@app.command()
@takes_console
def build(
    vectors: Annotated[
        list[str],
        typer.Argument(
            help="Parquet files, folders, globs or URLs.", metavar="VECTORS", parser=path_argument
        ),
    ],
    *,
    console: Console,
    output: Annotated[
        str, typer.Option("--output", help="Folder to make.", metavar="DIR", parser=path_argument)
    ],
    vector_column: Annotated[
        str | None,
        typer.Option(
            help="The column of vectors. Default: vector, or else the only one that can be it.",
            metavar="NAME",
        ),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="The column of ids. Default: id, if there is one.", metavar="NAME")
    ] = None,
    index: Annotated[
        str,
        typer.Option(
            help="How it will be searched: exact, or faiss for a large bank.", metavar="exact|faiss"
        ),
    ] = "exact",
) -> None:
    """Make unit vectors of VECTORS, keep their ids, and write a bank that run takes with --bank."""
    from lvm_batch.jobs.datasets.bank_building import build_bank

    console.result(
        *build_bank(
            vectors, output, vector_column=vector_column, id_column=id_column, index=index, console=console
        )
    )
