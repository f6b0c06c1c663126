"""The help of a command: what it does, its options by topic, and examples.

The rule: help follows from the declarations. The first paragraph of a docstring is the command's line in the list of
commands, the lines after ``Examples:`` come last, and an option stands under the heading of its declaration.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# typer's classes of these have no public names.
Context: TypeAlias = Any
Parameter: TypeAlias = Any
Command: TypeAlias = Any

HELP_NAMES = {"help_option_names": ["-h", "--help"]}
"""The context settings of an app whose commands take -h, as they take --help."""

EXAMPLES = "Examples:"

_ARGUMENTS, _COMMON, _PLAIN = "Arguments", "Common options", "Options"

_FEW = 12
"""So many options need no topics."""

_MARK = re.compile(r"\[[^\]]{1,40}\]$")
_UNBROKEN = "\xa0"
_NO_BRACES = str.maketrans("", "", "{}")
"""typer encloses a required argument in braces."""

_LEAST_WIDTH, _MOST_WIDTH = 60, 100
_NAME_WIDTH = 26
"""Longer names of options have a line of their own."""


class HelpCommand(TyperCommand):
    """A command that prints its options by topic, and its examples."""

    def get_help(self, ctx: Context) -> str:
        """Return the help in the width and colours of the terminal."""
        return _help(self, ctx, [options_by_heading(self, ctx)])


class HelpGroup(TyperGroup):
    """A group of commands that lists them under their headings."""

    def get_help(self, ctx: Context) -> str:
        """Return the help in the width and colours of the terminal."""
        return _help(self, ctx, [_commands(self, ctx), options_by_heading(self, ctx)])


class HelpRow(NamedTuple):
    """An option, argument or command, and what it does."""

    name: str
    text: str


def _help(command: Command, ctx: Context, tables: Iterable[Mapping[str, list[HelpRow]]]) -> str:
    width = max(_LEAST_WIDTH, min(_MOST_WIDTH, shutil.get_terminal_size().columns))
    about, _, examples = (command.help or "").partition(EXAMPLES)
    parts = [
        f"Usage: {' '.join((ctx.command_path, *command.collect_usage_pieces(ctx)))}".translate(_NO_BRACES),
        *(textwrap.fill(paragraph, width) for paragraph in about.strip().split("\n\n") if paragraph),
        *(section for table in tables for section in _sections(table, width)),
        *([f"{EXAMPLES}\n{_indented(examples)}"] if examples else []),
    ]
    text = "\n\n".join(parts)
    return str(ctx.obj.styled(text)) if ctx.obj else text


def _indented(examples: str) -> str:
    return "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())


def _sections(table: Mapping[str, list[HelpRow]], width: int) -> Iterator[str]:
    """Yield each heading with its rows; the texts of all sections begin in one column."""
    longest = min(_NAME_WIDTH, max(len(row.name) for rows in table.values() for row in rows))
    for heading, rows in table.items():
        if rows:
            yield "\n".join([f"{heading}:", *(line for row in rows for line in _lines(row, longest, width))])


def _lines(row: HelpRow, longest: int, width: int) -> Iterator[str]:
    indent = " " * (longest + 4)
    lines = _wrapped(row.text, width - len(indent))
    first = lines.pop(0) if lines and len(row.name) <= longest else ""
    yield f"  {row.name:<{longest}}  {first}".rstrip()
    yield from (indent + line for line in lines)


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text; a short mark at its end, as [default: auto], stays on one line."""
    whole = _MARK.sub(lambda mark: mark[0].replace(" ", _UNBROKEN), text)
    lines = textwrap.wrap(whole, width, break_on_hyphens=False, break_long_words=False)
    return [line.replace(_UNBROKEN, " ") for line in lines]


def _commands(group: HelpGroup, ctx: Context) -> dict[str, list[HelpRow]]:
    commands = [group.commands[name] for name in group.list_commands(ctx)]
    found = _by_heading(commands, lambda command: command.rich_help_panel or "Commands")
    return {
        heading: [HelpRow(each.name, summary_of(each)) for each in rows] for heading, rows in found.items()
    }


def summary_of(command: Command) -> str:
    """Return the first paragraph of a command's help, on one line."""
    return " ".join((command.help or "").strip().partition("\n\n")[0].split())


def options_by_heading(command: Command, ctx: Context) -> dict[str, list[HelpRow]]:
    """Return the arguments, then the options without a topic, then the topics."""
    found = _headings(command.get_params(ctx))
    plain = _COMMON if found.keys() - {_ARGUMENTS, _PLAIN} else _PLAIN
    ordered = {_ARGUMENTS: found.pop(_ARGUMENTS, []), plain: found.pop(_PLAIN, []), **found}
    return {heading: _rows(parameters, ctx) for heading, parameters in ordered.items()}


def _rows(parameters: Iterable[Parameter], ctx: Context) -> list[HelpRow]:
    records = ((parameter, parameter.get_help_record(ctx)) for parameter in parameters)
    return [HelpRow(_shown_name(parameter, record[0]), record[1]) for parameter, record in records if record]


def _shown_name(parameter: Parameter, name: str) -> str:
    """Return the name of an argument, which typer would show with its type, or that of an option."""
    if parameter.param_type_name != "argument":
        return name
    return f"{parameter.metavar}{'' if parameter.nargs == 1 else '...'}"


def _headings(parameters: list[Parameter]) -> dict[str, list[Parameter]]:
    has_topics = len(parameters) > _FEW

    def heading(parameter: Parameter) -> str:
        if parameter.param_type_name == "argument":
            return _ARGUMENTS
        return (has_topics and parameter.rich_help_panel) or _PLAIN

    return _by_heading(parameters, heading)


def _by_heading(parts: Iterable[Any], heading: Callable[[Any], str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for part in parts:
        found.setdefault(heading(part), []).append(part)
    return found
