"""How texts for people are laid out: numbers of things, and lines with a name in front.

The rule: all commands count and align alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def plural(number: int, noun: str) -> str:
    """Return "1 row" or "1,878 rows" for the ``noun`` "row"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def as_lines(texts: Mapping[str, str], *, width: int = 10) -> str:
    """Return a line for each text, its name in front in ``width`` columns; empty texts are left out."""
    return "\n".join(f"{name:<{width}}{text}" for name, text in texts.items() if text)
