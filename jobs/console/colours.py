"""The words that have a colour on a terminal.

The rule: a colour only repeats what the words say. Whether a stream has colours, rich decides: not off a terminal, nor
where NO_COLOR is set or TERM is dumb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.highlighter import Highlighter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text


class ColouredWords(Highlighter):
    """Gives what matches a pattern its style."""

    def __init__(self, styles: Mapping[str, str]) -> None:
        self._styles = {f"(?m){pattern}": style for pattern, style in styles.items()}

    def highlight(self, text: Text) -> None:
        """Colour the words in ``text``."""
        for pattern, style in self._styles.items():
            text.highlight_regex(pattern, style)


MESSAGES = ColouredWords(
    {
        r"^error:": "bold red",
        r"^warning:": "bold yellow",
        r"^ *(what to do|next):|^next\b": "bold",
        r"\b(failed|fails|interrupted|incomplete|not accepted|not finished|ALERT)\b": "red",
        r"\bwithout _SUCCESS\b": "yellow",
        r"\b_SUCCESS written\b|^ok\b|(?<=, )done$": "green",
    }
)
"""Messages and results."""

HELP = ColouredWords(
    {
        r"^[A-Z][\w ]*:$|^Usage:": "bold",
        r"^  (-\w, )?--[\w-]+|^  [a-z]+(?=  +\S)": "cyan",
    }
)
"""Help: its headings, and the names of commands and options."""
