"""What is said of a dataset's files before work: rows out of order, cut articles, columns that contradict their folder.

The rule: what costs predictions is a notice that counts them; what a reader would refuse is an error. Each comes with
the command that mends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.errors import DataError
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.datasets.command_lines import sort_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.articles.order import Disorder
    from lvm_batch.io.articles.runs import Cuts
    from lvm_batch.io.dataset.article_runs import RowOrder
    from lvm_batch.io.dataset.units import Footer
    from lvm_batch.io.schema import Pad
    from lvm_batch.jobs.settings.dataset import DatasetSettings


def refuse_disorder(order: RowOrder, settings: DatasetSettings) -> None:
    """Raise ``DataError`` if rows of an article are out of order, with their number and the first of them."""
    if order.disorder is not None:
        raise DataError(
            disorder_text(order.disorder),
            f"`{sort_command(settings)}` writes the rows of all files in order",
        )


def disorder_text(disorder: Disorder) -> str:
    """Return the first row out of order, and how many there are in how many files."""
    if disorder.rows == disorder.n_files == 1:
        return str(disorder.example)
    counts = f"{plural(disorder.rows, 'row')} of {plural(disorder.articles, 'article')}"
    are = "is" if disorder.rows == 1 else "are"
    return (
        f"{disorder.example}; {counts} {are} out of order, in {disorder.files:,} of "
        f"{plural(disorder.n_files, 'file')}"
    )


def split_article_notices(
    order: RowOrder, settings: DatasetSettings, *, pad: Pad | None = None
) -> Iterator[str]:
    """Yield which articles are cut and what it costs; ``pad`` says what happens to short contexts."""
    cuts = order.cuts
    if cuts is None:
        return
    first, second = cuts.files
    least = "" if order.is_complete else "at least "
    where = f"twice in {first}" if first == second else f"in {first} and in {second}"
    cost = "have no prediction" if pad in {None, "reject"} else "are padded"
    yield (
        f"{least}{plural(cuts.articles, 'article')} cut into several runs ({plural(cuts.cuts, 'cut')}): "
        f"`{cuts.example}` is {where}. Windows do not cross a cut, so {least}{plural(cuts.rows, 'row')} more "
        f"{cost}, and {cuts.cuts:,} more have no target. `{sort_command(settings)}` makes every article whole"
    )


def cut_values(cuts: Cuts | None) -> dict[str, Any] | None:
    """Return the same as plain values; ``None`` if every article is whole."""
    if cuts is None:
        return None
    return {
        "articles": cuts.articles,
        "cuts": cuts.cuts,
        "rows_of_short_context": cuts.rows,
        "in_several_files": cuts.elsewhere,
        "example": {"article": cuts.example, "files": list(dict.fromkeys(cuts.files))},
    }


def overruled_notices(footers: Sequence[Footer]) -> Iterator[str]:
    """Yield how many files contradict the names of their folders, and how the first one does."""
    disagreements = [footer.disagreement for footer in footers if footer.disagreement]
    if disagreements:
        first, *others = disagreements
        more = f" (and {plural(len(others), 'more file')})" if others else ""
        yield (
            f"{first}, but its folder disagrees{more}: the file's own column counts, though readers of "
            "folders, such as DuckDB, use the folder's"
        )
