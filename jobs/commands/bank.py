"""``lvm-batch bank``: banks of known vectors, against which confidence and margin are measured."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.help import HelpCommand, HelpGroup
from lvm_batch.jobs.settings.options import choice, takes_console
from lvm_batch.jobs.settings.paths import path_argument

app = typer.Typer(name="bank", cls=HelpGroup, help="Make banks of known vectors.")


@app.command(cls=HelpCommand)
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
            help="The column of vectors. Default: vector, or else the only column of vectors.",
            metavar="NAME",
        ),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="The column of ids. Default: id, if there is one.", metavar="NAME")
    ] = None,
    article_column: Annotated[
        str | None,
        typer.Option(
            help="The column of articles, which is kept with that of positions. Default: as a run finds it; @none for"
            " none.",
            metavar="NAME",
        ),
    ] = None,
    position_column: Annotated[
        str | None,
        typer.Option(
            help="The column of positions in the article. Default: as a run finds it.", metavar="NAME"
        ),
    ] = None,
    index: Annotated[
        str, choice("exact", "faiss", help="How it will be searched: exact, or faiss for a large bank.")
    ] = "exact",
) -> None:
    """Write a bank of VECTORS, as unit vectors with their ids.

    A run takes it with --bank. Its neighbours are named by their ids, else by article and position, else by row number.

    Examples:
        lvm-batch bank build data/ --output bank/
        lvm-batch bank build data/ --output bank/ --id-column doc_id
    """
    console.doing("reading the footers of the vectors")
    from lvm_batch.jobs.datasets.bank_building import build_bank

    console.result(
        *build_bank(
            vectors,
            output,
            vector_column=vector_column,
            id_column=id_column,
            article_column=article_column,
            position_column=position_column,
            index=index,
            console=console,
        )
    )
