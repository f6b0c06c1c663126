"""The blocks of code that a document shows, and running them as a reader would.

The rule: a block that is not run here says why, in a comment right before it: ``<!-- not run: it needs a GPU -->``.
"""

from __future__ import annotations

import re
import shlex
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.command import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE = re.compile(r" *```(\w*)")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_PROGRAMS = re.compile(r"(?:\$ )?(?:lvm-batch|make|pip|python3?|uv|echo|install|/\S+/lvm-batch)(?: |$)")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: its language (empty if none is named), its text, and why it is not run."""

    language: str
    text: str
    not_run: str | None

    @property
    def commands(self) -> list[str]:
        """The commands for a shell, each on one line; where some lines begin with ``$``, the others are output."""
        if self.language not in {"", "sh", "bash", "console"}:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        prompts = any(line.startswith("$ ") for line in lines)
        shown = [line for line in lines if _PROGRAMS.match(line) and line.startswith("$ ") == prompts]
        return [" ".join(line.removeprefix("$ ").split()) for line in shown]


def blocks_of(text: str) -> list[Block]:
    """The fenced and the indented blocks of a Markdown document, in order."""
    return list(_blocks(text.splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    number, reason = 0, None
    while number < len(lines):
        first, line = number, lines[number]
        if fence := _FENCE.match(line):
            number = next(after for after in range(first + 1, len(lines)) if "```" in lines[after])
            yield Block(fence[1], "\n".join(lines[first + 1 : number]) + "\n", reason)
        elif line.startswith("    "):
            while number + 1 < len(lines) and re.match(r" {4}|$", lines[number + 1]):
                number += 1
            block = "\n".join(each[4:] for each in lines[first : number + 1])
            yield Block("", block.rstrip() + "\n", reason)
        number += 1
        if line.strip():
            marked = _NOT_RUN.fullmatch(line.strip())
            reason = marked[1] if marked else None


def run_command(line: str) -> None:
    """Run a line of ``lvm-batch`` in this process, with a redirected stdout and a comment at its end as in a shell."""
    from lvm_batch.jobs.cli import main

    words = shlex.split(line, comments=True)
    words, target = (words[:-2], words[-1]) if words[-2] == ">" else (words, None)
    assert words[0] == "lvm-batch", f"this is not run, so the document must say why: {line}"
    with redirect_stdout(stream()) as out, redirect_stderr(stream()) as err:
        code = main(words[1:])
    printed, said = (each.buffer.getvalue().decode() for each in (out, err))
    assert code == 0, f"$ {line}\n{printed}{said}exit code {code}"
    if target:
        Path(target).write_text(printed, encoding="utf-8")


def run_blocks(blocks: list[Block]) -> None:
    """Run blocks one after the other in the working directory; settings go to ``nightly.toml``."""
    names: dict[str, Any] = {}
    for block in blocks:
        if block.not_run:
            continue
        if block.language == "toml":
            Path("nightly.toml").write_text(block.text, encoding="utf-8")
        if block.language == "python":
            exec(compile(block.text, "a document", "exec"), names)  # noqa: S102 - our own pages
        for command in block.commands:
            run_command(command)
