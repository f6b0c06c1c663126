"""What is said of the columns that were found, and of those between which nothing decides.

The rule: a message names the columns, the part, and the option that settles it.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.column_checks import column_flag
from lvm_batch.io.errors import AmbiguousColumns
from lvm_batch.io.schema import NO_COLUMN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOUNS = {
    "context": "the context",
    "vector": "the vector",
    "target": "the target",
    "lane": "the lane",
    "context_tokens": "the tokens of the context",
    "tokens": "the tokens of a row",
    "split": "the split",
    "article": "the article",
    "position": "the position in the article",
}
"""What the parts are called in messages."""


def ambiguous(noun: str, by_part: Mapping[str, Sequence[str]]) -> AmbiguousColumns:
    """Return the error for several columns that can play one part, or, by part, several that exclude each other."""
    columns = [name for names in by_part.values() for name in names]
    flags = tuple(
        f"{column_flag(part)} {shlex.quote(name)}" for part, names in by_part.items() for name in names
    )
    shown = f"{', '.join(f'`{name}`' for name in columns[:-1])} and `{columns[-1]}`"
    return AmbiguousColumns(
        f"{shown} can {'both' if len(columns) == 2 else 'all'} be {noun}",  # noqa: PLR2004
        f"choose one: {', or '.join(flags)}",
        flags,
    )


def found_notice(taken: Mapping[str, str]) -> str | None:
    """Return which columns were ``taken``, by part, by the names people use, in one line; ``None`` if none was."""
    if not taken:
        return None
    shown = ", ".join(
        f"no column is {NOUNS[part]}" if name == NO_COLUMN else f"`{name}` is {NOUNS[part]}"
        for part, name in taken.items()
    )
    return f"columns found: {shown} (to choose others, use options such as {column_flag(next(iter(taken)))})"
