"""Texts for people: lines that fit a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lvm_batch.jobs.console.text import as_lines, fitted

WIDTH = 40


def test_a_long_line_goes_on_under_its_text() -> None:
    """The name in front stays free, and no word is broken."""
    text = as_lines({"carried": "article_id (int32), position (int32), lane (string)", "rows": "3"})
    assert fitted(text, WIDTH).splitlines() == [
        "carried   article_id (int32), position",
        "          (int32), lane (string)",
        "rows      3",
    ]


def test_a_command_stays_whole() -> None:
    """A command that is printed in two lines cannot be pasted."""
    line = "next      lvm-batch run /data/windows --output /data/predictions --workers 3"
    assert fitted(line, WIDTH) == line


def test_lines_without_a_name_stay_as_they_are() -> None:
    """Prose and Markdown are left to the terminal."""
    line = "a sentence of words that is much longer than the width of this terminal"
    assert fitted(line, WIDTH) == line


@given(st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.text("ab ,", max_size=200)))
def test_nothing_is_lost(texts: dict[str, str]) -> None:
    """Every word stands where it stood."""
    lines = as_lines(texts)
    assert fitted(lines, WIDTH).split() == lines.split()
