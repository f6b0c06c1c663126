"""Counts in texts: one file, two files."""

from __future__ import annotations

import ast
from pathlib import Path

import lvm_batch.jobs
from lvm_batch.jobs.console.text import plural

ROOM = Path(lvm_batch.jobs.__file__).parent

COUNTED = (
    *(
        "articles",
        "checks",
        "commands",
        "faults",
        "files",
        "hosts",
        "predictions",
        "problems",
        "queries",
        "rows",
    ),
    *("rules", "runs", "targets", "tasks", "units", "vectors", "windows", "workers"),
)

NEVER_ONE = {"{len(problems)} problems", "{n_files:,} files"}
"""Errors of several problems or files say how many; a single one is reported as it is."""


def counts_without_plural(source: str) -> list[str]:
    """Each number in an f-string that is followed by a noun which is right for many only."""
    return [
        f"{ast.unparse(value)} {text.value.split()[0]}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.JoinedStr)
        for value, text in zip(node.values, node.values[1:], strict=False)
        if isinstance(value, ast.FormattedValue)
        and _is_count(value)
        and isinstance(text, ast.Constant)
        and _first_word(text.value) in COUNTED
    ]


def _is_count(value: ast.FormattedValue) -> bool:
    """Whether a value is a whole number that is not a constant: it is grouped by thousands, or a length."""
    named = ast.unparse(value.value)
    is_length = named.startswith(("len(", "n_"))
    is_grouped = value.format_spec is not None and ast.unparse(value.format_spec) == "f','"
    return (is_length or is_grouped) and not named.isupper()


def _first_word(text: str) -> str | None:
    words = text.split()
    return words[0].strip(".,;:") if text.startswith(" ") and words else None


def test_counts_agree_with_their_nouns() -> None:
    """A number before a noun goes through ``plural``, so that no text speaks of "1 files"."""
    found = {
        (str(module.relative_to(ROOM)), text)
        for module in ROOM.rglob("*.py")
        for text in counts_without_plural(module.read_text(encoding="utf-8"))
        if text not in NEVER_ONE
    }
    assert found == set()


def test_the_check_finds_what_it_looks_for() -> None:
    """A grouped number and a length are found; a rate, a constant and a plural are not."""
    source = (
        "f'{n:,} rows'; f'{len(files)} files, {n_units} units left'; f'{r:,} rows/s'; f'{MANY:,} rows';"
        "f'{plural(n, \"row\")}'; f'{share:.0%} of the rows'"
    )
    assert len(counts_without_plural(source)) == 3


def test_one_is_not_many() -> None:
    """The noun and the verb follow the number; thousands are separated."""
    assert [plural(n, "row") for n in (0, 1, 2, 1878)] == ["0 rows", "1 row", "2 rows", "1,878 rows"]
    assert [plural(n, "unit", ("is", "are")) for n in (1, 2)] == ["1 unit is", "2 units are"]
