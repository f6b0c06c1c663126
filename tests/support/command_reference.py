"""Writes ``docs/commands.md``, the reference of the command: ``make stubs``.

The rule: everything in it follows from the declarations that ``--help`` is made of.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lvm_batch.jobs.command_line import GROUPS, app
from lvm_batch.jobs.console.help import EXAMPLES, options_by_heading, summary_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs/commands.md"

_HEAD = """\
# Commands

Every command with its options, as `lvm-batch COMMAND --help` prints them. [Every night](every-night.md) tells how
options, environment variables and `--config` files go together. `make stubs` writes this page.
"""

_WIDTH = 130


def reference_text() -> str:
    """Return the page as it should be."""
    root = typer.main.get_command(app)
    context = root.make_context("lvm-batch", [], resilient_parsing=True)
    parts = [_HEAD, _contents(root, context)]
    for heading, commands in _by_heading(root, context).items():
        parts.append(f"## {heading}")
        parts.extend(_command(command, context) for command in commands)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _by_heading(root: Any, context: Any) -> dict[str, list[Any]]:  # noqa: ANN401 - typer's classes have no public names
    found: dict[str, list[Any]] = {heading: [] for heading in GROUPS}
    for name in root.list_commands(context):
        command = root.commands[name]
        found[command.rich_help_panel].append(command)
    return found


def _contents(root: Any, context: Any) -> str:  # noqa: ANN401
    rows = [
        f"| [`{command.name}`](#lvm-batch-{command.name}) | {_escaped(summary_of(command))} |"
        for commands in _by_heading(root, context).values()
        for command in commands
    ]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows])


def _command(command: Any, parent: Any, level: int = 3) -> str:  # noqa: ANN401
    context = command.make_context(command.name, [], parent=parent, resilient_parsing=True)
    parts = [f"{'#' * level} {context.command_path}", *_about(command)]
    subcommands = getattr(command, "commands", {})
    if subcommands:
        parts.extend(_command(each, context, level + 1) for each in subcommands.values())
    else:
        usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
        parts.insert(1, f"    {usage.translate(str.maketrans('', '', '{}'))}")
        parts.extend(_options(command, context))
        parts.extend(_examples(command))
    return "\n\n".join(parts)


def _about(command: Any) -> Iterator[str]:  # noqa: ANN401
    about = (command.help or "").partition(EXAMPLES)[0].strip()
    for paragraph in filter(None, about.split("\n\n")):
        yield textwrap.fill(_escaped(" ".join(paragraph.split())), _WIDTH, break_on_hyphens=False)


def _options(command: Any, context: Any) -> Iterator[str]:  # noqa: ANN401
    for heading, rows in options_by_heading(command, context).items():
        if rows:
            lines = [f"| {heading.lower()} | |", "| --- | --- |"]
            lines += [f"| {_code(row.name)} | {_escaped(row.text)} |" for row in rows]
            yield "\n".join(lines)


def _examples(command: Any) -> Iterator[str]:  # noqa: ANN401
    examples = (command.help or "").partition(EXAMPLES)[2].strip()
    if examples:
        yield "Examples:"
        yield "\n".join(f"    {line.strip()}" for line in examples.splitlines())


def _code(name: str) -> str:
    return f"`{name}`".replace("|", r"\|")


def _escaped(text: str) -> str:
    """Return a text in which nothing is markup but what stands between backticks."""
    return re.sub(r"([|<>*_\[\]])", r"\\\1", text) if "`" not in text else text.replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(reference_text(), encoding="utf-8")
