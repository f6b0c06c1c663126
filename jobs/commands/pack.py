"""``lvm-batch pack``: arrays of numpy, JSON lines, or Parquet of any encoding, as Parquet that a run reads fast."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import choice, takes_console
from lvm_batch.jobs.settings.paths import path_argument

_COLUMNS = "Column names"


def _column(help_text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=help_text, metavar="NAME", rich_help_panel=_COLUMNS)
    return option


@takes_console
def pack(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="NPZ, NPY, JSON lines or Parquet files, folders, globs.",
            metavar="INPUT",
            parser=path_argument,
        ),
    ],
    *,
    console: Console,
    output: Annotated[
        str,
        typer.Option(help="Folder or URL to write to, new or empty.", metavar="DIR", parser=path_argument),
    ],
    sort: Annotated[
        bool,
        typer.Option(
            "--sort", help="Sort all rows by article and position, and keep every article whole in one file."
        ),
    ] = False,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            help="Memory to use for sorting; the rest goes to disk. Default: a quarter of the machine's, at most 4GiB.",
            metavar="SIZE",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        choice(
            "fixed_size_binary",
            "fixed_size_list",
            help="How vectors are stored. Default: binary if they have 768 numbers, else lists.",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        choice(
            "float32",
            "float16",
            help="Type of their values. Default: float16 if the source has it, else float32.",
        ),
    ] = None,
    rows_per_file: Annotated[
        str, typer.Option(help="Rows of a file, or the size of its vectors as float32.", metavar="N|SIZE")
    ] = "1GiB",
    pad: Annotated[
        str, choice("repeat", "zero", "reject", help="How to fill a context that has too few vectors.")
    ] = "repeat",
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Array or column to leave out; repeatable.", metavar="NAME")
    ] = None,
    context_column: Annotated[str | None, _column("Several vectors, in windows.")] = None,
    vector_column: Annotated[str | None, _column("One vector, in sequences.")] = None,
    target_column: Annotated[str | None, _column("The true next vector.")] = None,
    article_column: Annotated[
        str | None, _column("The row's article, to sort by; @file: each file is one article.")
    ] = None,
    position_column: Annotated[
        str | None,
        _column("Position in the article, to sort by; @row: rows are already in reading order."),
    ] = None,
) -> None:
    """Write INPUT as Parquet that run reads fast, row for row or sorted.

    Rows are windows (contexts, perhaps targets) or single vectors. Their
    columns are found by the names people use; options name them otherwise.

    An NPZ file holds context_sequences or contexts, and perhaps target_vectors
    or targets, or else vectors or embeddings. With the prefixes train_, val_ or
    test_ each part goes to a folder of its own. Arrays of one value a row
    become columns, and so do NPY files beside one of vectors (ids.npy beside
    vectors.npy); objects are refused, never unpickled. In JSON lines a vector
    is a list of numbers, every other value a column.

    Without --sort single vectors stay in one file for each INPUT, because no
    window crosses a file.

    Examples:
        lvm-batch pack vectors.npz --output packed/
        lvm-batch pack data/ --sort --output sorted/
        lvm-batch pack rows.jsonl --sort --output sorted/ --article-column doc
    """
    console.doing("looking at the inputs")
    from lvm_batch.jobs.console.count import Count
    from lvm_batch.jobs.console.progress import Progress
    from lvm_batch.jobs.console.signals import stop_on_signals
    from lvm_batch.jobs.datasets.pack import plan_packing, write_packed
    from lvm_batch.jobs.datasets.pack_options import PackOptions

    columns = {
        "context": context_column,
        "vector": vector_column,
        "target": target_column,
        "article": article_column,
        "position": position_column,
    }
    given = {part: name for part, name in columns.items() if name is not None}
    options = PackOptions(
        encoding, dtype, rows_per_file, pad, tuple(leave_out or ()), given, sort, memory_limit
    )
    plan = plan_packing(inputs, output, options)
    count = Count(total=sum(source.n_rows for source in plan.sources))
    with (
        stop_on_signals(hint="nothing was written; run the same command again"),
        Progress(console, "sorting" if sort else "packing", count) as progress,
    ):
        result = write_packed(plan, output, on_rows=progress.add)
    console.result(*result)
