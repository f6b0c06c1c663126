"""Notices about a dataset's files: articles cut into several runs, and columns that contradict their folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.article_runs import Cuts
    from lvm_batch.io.dataset.units import Footer
    from lvm_batch.io.schema import Pad


def split_article_notices(cuts: Cuts | None, *, pad: Pad | None = None) -> Iterator[str]:
    """Yield which articles are cut and what it costs; ``pad`` says what happens to short contexts."""
    if cuts is None:
        return
    first, second = cuts.files
    where = f"twice in {first}" if first == second else f"in {first} and in {second}"
    cost = "have no prediction" if pad in {None, "reject"} else "are padded"
    yield (
        f"{plural(cuts.articles, 'article')} cut into several runs ({plural(cuts.cuts, 'cut')}): `{cuts.example}` "
        f"stands {where}. Windows do not cross a cut, so {plural(cuts.rows, 'row')} more {cost}, and "
        f"{cuts.cuts:,} more have no target. To keep an article whole, write its rows together, in one file"
    )


def cut_values(cuts: Cuts | None) -> dict[str, Any] | None:
    """Return the same as plain values; ``None`` if every article is whole."""
    if cuts is None:
        return None
    return {
        "articles": cuts.articles,
        "cuts": cuts.cuts,
        "rows_of_short_context": cuts.rows,
        "example": {"article": cuts.example, "files": list(dict.fromkeys(cuts.files))},
    }


def overruled_notices(footers: Sequence[Footer]) -> Iterator[str]:
    """Yield how many files contradict the names of their folders, and how the first one does."""
    disagreements = [footer.disagreement for footer in footers if footer.disagreement]
    if disagreements:
        first, *others = disagreements
        more = f" (and so in {plural(len(others), 'file')} more)" if others else ""
        yield (
            f"{first}, and its folder tells otherwise{more}: the file's own column counts, though readers of "
            "folders, such as DuckDB, take the folder's"
        )
