"""How texts for people are laid out: numbers, lines with a name in front, and tables; and the name that was meant.

The rule: all commands write and align them alike.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


_NAME_IN_FRONT = re.compile(r" *\S.{0,14}?  +(?=\S)")


def plural(number: int, noun: str, verbs: tuple[str, str] | None = None) -> str:
    """Return "1 row" or "1,878 rows" for the ``noun`` "row"; with the ``verbs`` "is" and "are" also one of these."""
    text = f"{number:,} {noun}{'' if number == 1 else 's'}"
    return text if verbs is None else f"{text} {verbs[number != 1]}"


def format_number(value: float | None, form: str = ".4f", *, unknown: str = "-") -> str:
    """Return a number in a format such as ".4f", or ``unknown`` for None."""
    return unknown if value is None else format(value, form)


def as_lines(texts: Mapping[str, str], *, width: int = 10) -> str:
    """Return a line for each text, its name in front in ``width`` columns; empty texts are left out."""
    return "\n".join(f"{name:<{width}}{text}" for name, text in texts.items() if text)


def as_table(rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,)) -> str:
    """Return rows as lines of columns: those with a number in ``left`` aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def fitted(text: str, width: int) -> str:
    """Return the lines of a text, those with a name in front broken at spaces where they are wider than a terminal.

    What follows is indented to the text after the name. Lines with a command stay whole, so that it can be pasted.
    """
    return "\n".join(part for line in text.split("\n") for part in _fitted(line, width))


def _fitted(line: str, width: int) -> list[str]:
    name = _NAME_IN_FRONT.match(line)
    if name is None or len(line) <= width or "lvm-batch" in line:
        return [line]
    indent = " " * name.end()
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name most similar to ``name``; ``None`` if no similarity (0 to 1) reaches ``cutoff``."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)
