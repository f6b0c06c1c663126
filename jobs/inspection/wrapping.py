"""Text in lines of 80 columns, with names in front.

The rule: a command in a text stays whole, to be pasted, and paths below the working folder are shown from there.
"""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

INDENT = "  "
_WIDTH = 80
_NAME_WIDTH = 12  # or that of the longest name
_COMMAND = re.compile("`[^`]*lvm-batch [^`]*`")
_JOINT = "\x00"  # in no text


def entries(named: Iterable[tuple[str, str]]) -> list[str]:
    """Return texts with their names in front, all names as wide as the widest."""
    known = list(named)
    width = max([_NAME_WIDTH, *(len(name) + 2 for name, _ in known)])
    return [line for name, text in known for line in wrapped(name, text, width=width)]


def item(text: str) -> list[str]:
    """Return a text as an item of a list."""
    return fill(text, first=f"{INDENT}- ", other=f"{INDENT}  ")


def wrapped(name: str, text: str, *, width: int = _NAME_WIDTH) -> list[str]:
    """Return a text with a name in front of its first line."""
    name = f"{name:<{width}}" if len(name) < width else f"{name}  "
    return fill(text, first=f"{INDENT}{name}", other=f"{INDENT}{' ' * width}")


def fill(text: str, *, first: str, other: str) -> list[str]:
    """Wrap a text; ``first`` and ``other`` are in front of its first line and of the others."""
    text = text.replace(f"{os.getcwd()}/", "")  # noqa: PTH109 - paths below the working folder
    lines = textwrap.wrap(
        _COMMAND.sub(lambda found: found[0].replace(" ", _JOINT), text),
        _WIDTH,
        initial_indent=first,
        subsequent_indent=other,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_JOINT, " ") for line in lines]
