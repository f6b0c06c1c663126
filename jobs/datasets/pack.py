"""Packs arrays, JSON lines and Parquet files into Parquet that a run reads fast.

The rule: every option and every input is checked before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lvm_batch.io.dataset.column_checks import is_number
from lvm_batch.io.dataset.data_files import PACKABLE
from lvm_batch.io.dataset.files import look_for_files
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.packing.find import find_sources
from lvm_batch.io.packing.packing import pack
from lvm_batch.io.packing.sorting.added_columns import with_folder_columns
from lvm_batch.io.packing.sorting.sort_columns import find_sort_columns, with_pseudo_columns
from lvm_batch.io.packing.sorting.sorted_packing import Sorting, pack_sorted
from lvm_batch.io.packing.sources import Reading
from lvm_batch.io.schema import FILE_ARTICLE, ROW_POSITION, ColumnNames, WindowShape
from lvm_batch.jobs.datasets.pack_options import CheckedOptions, PackOptions, check_options
from lvm_batch.jobs.datasets.packed_text import packed_text, packed_values
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.places import Place, check_places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lvm_batch.io.packing.encoding import Encoding, Packing
    from lvm_batch.io.packing.sources import Source

_PSEUDO = {FILE_ARTICLE, ROW_POSITION}
_USUAL = ColumnNames()
_SHAPE = WindowShape()


@dataclass(frozen=True, slots=True)
class PackingPlan:
    """What to pack, how to encode and sort it, and what the user should know of the inputs.

    ``parts`` maps the parts that columns play to their names in the output.
    """

    sources: Sequence[Source]
    packing: Packing
    notices: Sequence[str]
    parts: Mapping[str, str]
    sorting: Sorting | None = None


def plan_packing(inputs: Sequence[str], output: str, options: PackOptions) -> PackingPlan:
    """Check the options and every input; raises ``SettingsError`` or ``DataError``."""
    checked = check_options(options)
    listing = look_for_files(inputs, PACKABLE)
    stems = ["part"] if options.sort else [file.stem for file in listing.files]
    output_place = Place("the output", "--output", output, [f"{stem}-00000.parquet" for stem in stems])
    check_places([output_place], dataset=inputs, files=listing.files)
    given = {part: name for part, name in checked.given.items() if name not in _PSEUDO}
    sources = find_sources(listing.files, Reading(given, leave_out=checked.leave_out, pad=checked.pad))
    _refuse_mixed_widths(sources)
    checked = replace(checked, packing=replace(checked.packing, encoding=_encoding(sources, checked)))
    if checked.sort_memory is None:
        return PackingPlan(sources, checked.packing, listing.notices, _parts(sources, checked.given))
    return _sorted_plan(sources, checked, listing.notices, checked.sort_memory)


def write_packed(
    plan: PackingPlan, output: str, *, on_rows: Callable[[int], None]
) -> tuple[dict[str, Any], str]:
    """Write the files to ``output`` and return what was written, as values and as text; raises ``DataError``."""
    if plan.sorting is None:
        packed = pack(plan.sources, output, packing=plan.packing, on_rows=on_rows)
    else:
        packed = pack_sorted(
            plan.sources, output, sorting=plan.sorting, packing=plan.packing, on_rows=on_rows
        )
    values = packed_values(
        packed,
        output,
        encoding=plan.packing.encoding,
        notices=plan.notices,
        parts=plan.parts,
        in_order=plan.sorting is not None,
    )
    return values, packed_text(values)


def _refuse_mixed_widths(sources: Sequence[Source]) -> None:
    """Refuse sources whose vectors differ in width: no model reads both."""
    widths = {source.shape.dim: source for source in sources}
    if len(widths) > 1:
        (one, first), (other, second), *_ = sorted(widths.items())
        raise ColumnError(
            f"{first.path} holds vectors of {one}, and {second.path} vectors of {other}",
            "pack the files of each width separately",
        )


def _encoding(sources: Sequence[Source], checked: CheckedOptions) -> Encoding:
    """Return how vectors are stored: as binary only if its bytes say how many floats they are.

    1,536 bytes are 768 float16 to every reader; so 384 float32 must be a list.
    """
    is_usual = all(_is_usual(source.shape) for source in sources)
    if checked.encoding == "fixed_size_binary" and not is_usual:
        raise SettingsError(
            Problem(
                f"--encoding fixed_size_binary needs vectors of {_SHAPE.dim}: readers cannot tell how many floats the "
                f"bytes of a vector of {sources[0].shape.dim} are",
                "leave it out: other vectors are stored as lists of fixed size",
            )
        )
    return checked.encoding or ("fixed_size_binary" if is_usual else "fixed_size_list")


def _is_usual(shape: WindowShape) -> bool:
    return shape.dim == _SHAPE.dim and shape.length in {1, _SHAPE.length}


def _sorted_plan(
    sources: Sequence[Source], checked: CheckedOptions, notices: Sequence[str], memory: int
) -> PackingPlan:
    windows = [source for source in sources if "context" in source.vectors or source.shape.length > 1]
    if windows:
        raise ColumnError(
            f"{windows[0].path} holds whole contexts, and the order of contexts does not matter",
            "leave --sort out: it is for single vectors",
        )
    texts = {_USUAL.lane, _USUAL.split, _USUAL.article, *checked.given.values()}
    sources = with_folder_columns(sources, texts=texts, leave_out=checked.leave_out)
    sources = with_pseudo_columns(sources, checked.given)
    article, position = find_sort_columns(sources, checked.given)
    parts = {"vector": next(iter(sources[0].vectors)), "article": article}
    kind = next(source.others.field(position).type for source in sources)
    parts["position"] = position if is_number(kind) else ROW_POSITION
    notices = [*notices, f"sorted by `{article}`, then `{position}`"]
    return PackingPlan(sources, checked.packing, notices, parts, Sorting(article, position, memory))


def _parts(sources: Sequence[Source], given: Mapping[str, str]) -> dict[str, str]:
    """Return the parts that the columns of unsorted files play, as far as they are known."""
    names = list(sources[0].vectors)
    if sources[0].shape.length > 1:
        return dict(zip(("context", "target"), names, strict=False))
    try:
        article, position = find_sort_columns(with_pseudo_columns(sources, given), given)
    except ColumnError:
        return {"vector": names[0]}
    found = {"article": article, "position": position}
    pseudo = {part: name for part, name in given.items() if name in _PSEUDO}
    return {"vector": names[0], **found, **pseudo}
