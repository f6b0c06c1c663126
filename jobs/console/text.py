"""How numbers of things and named texts are written for people: "1 row", "1,878 rows", a line for each text.

The rule: everything that people read counts alike, and lines stand alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def plural(number: int, noun: str) -> str:
    """A number of things; ``noun`` is what one is called, and more of them by an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def as_lines(texts: Mapping[str, str]) -> str:
    """Lay named texts out in lines; one that has nothing to say is left out."""
    return "\n".join(f"{name:<10}{text}" for name, text in texts.items() if text)
