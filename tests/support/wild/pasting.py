"""Commands, pasted from what another command printed, as a newcomer does.

The rule: a command is run word for word as a shell would run it; nothing is filled in.
"""

from __future__ import annotations

import re
import shlex
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, NamedTuple

from support.command import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 8  # commands from a dataset to its predictions
_PLACEHOLDER = re.compile(r"…|<\w+>|(?<=[ =])(OUT|OUTPUT|DIR|BANK|DATA|DATASET|MODEL|PATH|NAME|CKPT)\b")


class Printed(NamedTuple):
    """A command as it was typed, its exit code, and what it printed."""

    command: str
    code: int
    out: str
    err: str

    @property
    def ended(self) -> str:
        """What the terminal shows, for a test that fails."""
        return f"$ {self.command}\n{self.out}{self.err}exit code {self.code}\n"


def typed(command: str) -> Printed:
    """Run a line such as ``lvm-batch inspect DATA`` in this process."""
    from lvm_batch.jobs.cli import main

    program, *arguments = shlex.split(command)
    assert program == "lvm-batch", command
    assert not _PLACEHOLDER.search(command), f"something is left to fill in: {command}"
    with redirect_stdout(stream()) as out, redirect_stderr(stream()) as err:
        code = main(arguments)
    return Printed(command, code, *(printed.buffer.getvalue().decode() for printed in (out, err)))


def commands_in(text: str) -> list[str]:
    """Return the commands that stand on lines of their own; a line that ends with a backslash goes on."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    found = [
        re.fullmatch(r"\s*(?:\d+\.\s+|\$\s+|next:\s+|next\s+)?(lvm-batch [^`]+)", line) for line in lines
    ]
    return [match[1].strip() for match in found if match]


def pasted_until_run(first: Printed) -> list[Printed]:
    """Paste what ``first`` shows, command by command, until a run is done, and a look at its output if one is shown.

    The commands of one output follow each other; after the last one, that one's own output says how to go on. Each
    must exit with 0. Return all commands, the first one and the run among them.
    """
    done = [first]
    waiting = commands_in(first.out)
    while not _is(done[-1].command, "run"):
        assert waiting, f"nothing to paste\n{story_of(done)}"
        assert len(done) < _MOST, f"no end\n{story_of(done)}"
        _paste(waiting[0], done)
        waiting = waiting[1:] or commands_in(done[-1].out)
    if waiting and _is(waiting[0], "show"):
        _paste(waiting[0], done)
    return done


def _paste(command: str, done: list[Printed]) -> None:
    done.append(typed(command))
    assert done[-1].code == 0, f"a pasted command fails\n{story_of(done)}"


def names_of(done: Sequence[Printed]) -> list[str]:
    """Return which commands were typed: ``inspect``, ``run``."""
    return [printed.command.split()[1] for printed in done]


def story_of(done: Sequence[Printed]) -> str:
    """Return what the terminal shows, for a test that fails."""
    return "".join(printed.ended for printed in done)


def the_run(done: Sequence[Printed]) -> Printed:
    """Return the run among the commands."""
    return next(printed for printed in done if _is(printed.command, "run"))


def _is(command: str, name: str) -> bool:
    return command.startswith(f"lvm-batch {name} ")
