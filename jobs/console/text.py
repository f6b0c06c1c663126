"""Numbers in texts: "1 row", "1,878 rows"."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """Return a number with its noun; ``noun`` is the singular, the plural adds an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
