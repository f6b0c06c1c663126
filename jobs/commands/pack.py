"""``lvm-batch pack``: arrays of numpy, or Parquet of any encoding, as Parquet that a run reads fast."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import choice, takes_console
from lvm_batch.jobs.settings.paths import path_argument


@takes_console
def pack(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="NPZ, NPY or Parquet files, folders, globs.", metavar="INPUT", parser=path_argument
        ),
    ],
    *,
    console: Console,
    output: Annotated[
        str,
        typer.Option(help="Folder or URL to write to, new or empty.", metavar="DIR", parser=path_argument),
    ],
    encoding: Annotated[
        str, choice("fixed_size_binary", "fixed_size_list", help="How vectors are stored.")
    ] = "fixed_size_binary",
    dtype: Annotated[
        str | None,
        choice(
            "float32",
            "float16",
            help="Type of their values. Default: float16 if the source is, else float32.",
        ),
    ] = None,
    rows_per_file: Annotated[
        str, typer.Option(help="Rows of a file, or the size of its vectors as float32.", metavar="N|SIZE")
    ] = "1GiB",
    pad: Annotated[
        str, choice("repeat", "zero", "reject", help="What fills up contexts that are too short.")
    ] = "repeat",
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Array or column to leave out; repeatable.", metavar="NAME")
    ] = None,
    context_column: Annotated[str, typer.Option(help="In Parquet: contexts.", metavar="NAME")] = "context",
    target_column: Annotated[str, typer.Option(help="In Parquet: targets.", metavar="NAME")] = "target",
    vector_column: Annotated[
        str, typer.Option(help="In Parquet: single vectors.", metavar="NAME")
    ] = "vector",
) -> None:
    """Write INPUT as Parquet that run reads fast, row for row.

    An NPZ file holds context_sequences or contexts, and perhaps target_vectors
    or targets. With the prefixes train_, val_ or test_ each part goes to a
    folder of its own. Arrays of one value a row become columns; objects are
    refused, never unpickled. Single vectors stay in one file, because no
    window crosses a file.

    Examples:
        lvm-batch pack vectors.npz --output packed/
        lvm-batch pack data/ --output packed/ --vector-column embedding
    """
    from lvm_batch.io.schema import ColumnNames
    from lvm_batch.jobs.console.count import Count
    from lvm_batch.jobs.console.progress import Progress
    from lvm_batch.jobs.datasets.pack import PackOptions, plan_packing, write_packed

    names = ColumnNames(context=context_column, target=target_column, vector=vector_column)
    options = PackOptions(encoding, dtype, rows_per_file, pad, tuple(leave_out or ()), names)
    plan = plan_packing(inputs, output, options)
    count = Count(total=sum(source.n_rows for source in plan.sources))
    with Progress(console, "packing", count) as progress:
        result = write_packed(plan, output, on_rows=progress.add)
    console.result(*result)
