"""Texts as a terminal may get them: names of files and columns hold any character.

The rule: nothing that a name holds moves the cursor, changes a colour or looks like a line of ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lvm_batch.jobs.errors import Lines

if TYPE_CHECKING:
    from rich.console import RenderableType

# Characters that a terminal would act upon or cannot write.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: RenderableType) -> RenderableType:
    """Escape control characters as Python does; new lines and tabs stay."""
    return _UNPRINTABLE.sub(_escaped, text) if isinstance(text, str) else text


def on_one_line(text: str) -> str:
    """Escape new lines, except those of ours: a name with a new line in it could look like one."""
    return text.replace("\n", "\n    ") if isinstance(text, Lines) else text.replace("\n", "\\n")


def _escaped(character: re.Match[str]) -> str:
    return ascii(character[0])[1:-1]
