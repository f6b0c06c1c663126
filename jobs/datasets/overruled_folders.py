"""What the user is told of columns that files hold and their folders tell otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.units import Footer


def overruled_notices(footers: Sequence[Footer]) -> Iterator[str]:
    """Yield how many files hold something else than their folders tell, and what the first of them does."""
    found = [footer.disagreement for footer in footers if footer.disagreement]
    if found:
        more = f" (and so in {plural(len(found) - 1, 'file')} more)" if len(found) > 1 else ""
        yield (
            f"{found[0]}, and its folder tells otherwise{more}: the file's own column counts, though readers of "
            "folders, such as DuckDB, take the folder's"
        )
