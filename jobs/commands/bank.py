"""``lvm-batch bank``: banks of known vectors, against which confidence and margin are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.help import HelpCommand, HelpGroup
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.settings.options import choice, takes_console
from lvm_batch.jobs.settings.paths import path_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lvm_batch.io.dataset.files import InputFile

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
            help="The column of vectors. Default: vector, or else the only one that can be it.",
            metavar="NAME",
        ),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="The column of ids. Default: id, if there is one.", metavar="NAME")
    ] = None,
    index: Annotated[
        str, choice("exact", "faiss", help="How it will be searched: exact, or faiss for a large bank.")
    ] = "exact",
) -> None:
    """Write a bank of VECTORS, as unit vectors with their ids.

    A run takes it with --bank.

    Examples:
        lvm-batch bank build data/ --output bank/
        lvm-batch bank build data/ --output bank/ --id-column doc_id
    """
    from lvm_batch.io.bank.bank import build_bank
    from lvm_batch.jobs.console.count import Count
    from lvm_batch.jobs.console.progress import Progress

    build_index = _index_builder(index)
    files = _find_files(vectors, output, console)
    with Progress(console, "reading vectors", Count("vector")) as progress:
        meta = build_bank(
            files,
            output,
            vector_column=vector_column,
            id_column=id_column,
            build_index=build_index,
            on_rows=progress.reach,
        )
    console.result({"output": output, **meta}, _text(output, meta))


def _index_builder(index: str) -> Callable[..., bytes] | None:
    """Return what builds the index of that name, None for an exact search; raises ``UsageError`` for other names."""
    from lvm_batch.jobs.errors import UsageError

    if index == "exact":
        return None
    if index != "faiss":
        raise UsageError(f"--index cannot be {index!r}", "it can be exact or faiss")
    from lvm_batch.lvm.search.faiss import build_faiss_index

    return build_faiss_index


def _find_files(vectors: list[str], output: str, console: Console) -> list[InputFile]:
    """Find the files of vectors; raises an error if the bank would be written among them."""
    from lvm_batch.io.bank.remote import NAMES
    from lvm_batch.io.dataset.files import look_for_files
    from lvm_batch.jobs.places import Place, check_places

    listing = look_for_files(vectors)
    check_places([Place("the bank", "--output", output, NAMES)], dataset=vectors, files=listing.files)
    for notice in listing.notices:
        console.note(notice)
    return listing.files


def _text(output: str, meta: Mapping[str, Any]) -> str:
    left_out = (
        f", {plural(meta['left_out'], 'row')} without a usable vector left out" if meta["left_out"] else ""
    )
    made = f"{output}: {plural(meta['count'], 'vector')} of {meta['dim']}{left_out}"
    return f"{made}\nuse it with: lvm-batch run … --bank {output}"
