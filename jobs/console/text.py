"""How a number of things is written: "1 row", "1,878 rows".

The rule: everything that people read counts alike. Does not know what is counted.
"""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """A number of things; ``noun`` is what one is called, and more of them by an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
