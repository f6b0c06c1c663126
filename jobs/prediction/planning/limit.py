"""A limit of rows: how far into the dataset a run reads.

The rule: the rows of a limited run are the first ones, files in order, and what it reads is part of the job's identity:
which files, and how many rows of one that is not read to its end.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvm_batch.io.dataset.units import Footer, Unit


def partly_read(footers: Iterable[Footer], units: Iterable[Unit]) -> dict[str, int]:
    """Return the rows that ``units`` have of each file, by its path, that they do not read to its end."""
    n_rows: Counter[str] = Counter()
    for unit in units:
        n_rows[unit.file.path] += unit.n_rows
    whole = {footer.file.path: footer.n_rows for footer in footers}
    return {path: n_rows[path] for path, n_whole in whole.items() if n_rows[path] < n_whole}


def limit_notices(limit: int | None, footers: Sequence[Footer], *, n_files: int) -> Iterator[str]:
    """Yield how far a limit reaches, of ``n_files`` files."""
    if limit is None:
        return
    n_there = sum(footer.n_rows for footer in footers)
    if n_there < limit:
        yield f"the limit of {plural(limit, 'row')} is not reached: all {plural(n_there, 'row')} are read"
    else:
        first = "only the first row is" if limit == 1 else f"only the first {plural(limit, 'row')} are"
        yield f"{first} read (--limit), from {len(footers):,} of {plural(n_files, 'file')}"
