"""Builds a bank of known vectors from Parquet files, with its index if it is large.

The rule: the bank is never written among the files that it is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.bank.bank import build_bank as write_bank
from lvm_batch.io.bank.ids import ROW, named_by
from lvm_batch.io.bank.kept_columns import ID
from lvm_batch.io.bank.remote import NAMES
from lvm_batch.io.dataset.files import look_for_files
from lvm_batch.jobs.console.count import Count
from lvm_batch.jobs.console.progress import Progress
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.places import Place, check_places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.jobs.console.console import Console


def build_bank(
    vectors: Sequence[str],
    output: str,
    *,
    vector_column: str | None,
    id_column: str | None,
    article_column: str | None,
    position_column: str | None,
    index: str,
    console: Console,
) -> tuple[dict[str, Any], str]:
    """Write the bank of the files of ``vectors`` to ``output``; return its facts as values and as text.

    ``index`` is ``exact`` or ``faiss``. Raises ``DataError``, ``ModelError`` or ``JobError``.
    """
    build_index = _index_builder(index)
    files = _find_files(vectors, output, console)
    with Progress(console, "reading vectors", Count("vector")) as progress:
        meta = write_bank(
            files,
            output,
            vector_column=vector_column,
            id_column=id_column,
            article_column=article_column,
            position_column=position_column,
            build_index=build_index,
            on_rows=progress.reach,
        )
    return {"output": output, **meta}, _text(output, meta)


def _index_builder(index: str) -> Callable[..., bytes] | None:
    """Return what builds the index of that name, None for an exact search; raises ``UsageError`` for other names."""
    if index == "exact":
        return None
    if index != "faiss":
        raise UsageError(f"--index cannot be {index!r}", "it can be exact or faiss")
    from lvm_batch.lvm.search.faiss import build_faiss_index

    return build_faiss_index


def _find_files(vectors: Sequence[str], output: str, console: Console) -> list[InputFile]:
    """Find the files of vectors; raises an error if the bank would be written among them."""
    listing = look_for_files(vectors)
    check_places([Place("the bank", "--output", output, NAMES)], dataset=vectors, files=listing.files)
    for notice in listing.notices:
        console.note(notice)
    return listing.files


def _text(output: str, meta: Mapping[str, Any]) -> str:
    n_left_out = plural(meta["left_out"], "row")
    left_out = f", {n_left_out} without a usable vector left out" if meta["left_out"] else ""
    made = f"{output}: {plural(meta['count'], 'vector')} of {meta['dim']}{left_out}"
    kept = {part: name for part, name in meta["columns"].items() if part != ID}
    known = " and ".join(f"`{name}` as {part}" for part, name in kept.items())
    lines = [
        made,
        f"neighbours are named by {named_by((*meta['columns'], ROW))}"
        + (f"; kept: {known}" if known else ""),
        f"use it with: lvm-batch run … --bank {output}",
    ]
    return "\n".join(lines)
