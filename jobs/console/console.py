"""The output of a command: its result to stdout, everything else to stderr.

The rule: stdout carries only the result, or, with --json, exactly one JSON object; a command that fails prints its
error in the same form. With --log-format json each line of stderr is one JSON object (``json_log``).
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

import rich.console

from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.console.colours import HELP, MESSAGES
from lvm_batch.jobs.console.json_log import JsonLog
from lvm_batch.jobs.console.log_format import LogFormat, log_format
from lvm_batch.jobs.console.pasted import instead_of, with_flag
from lvm_batch.jobs.console.printable import on_one_line, printable
from lvm_batch.jobs.console.text import fitted
from lvm_batch.jobs.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from rich.console import RenderableType

    from lvm_batch.jobs.errors import JobError


_PIPE_WIDTH = 200
_ERASE = "\r\x1b[2K"  # the line that the cursor is on

# How many problems are printed: a dataset may have one for each of its files.
_IN_TEXT = 10
_IN_JSON = 100


class Console:
    """The two streams of one command.

    ``progress`` is the rich console on stderr, for progress bars and live displays. ``log`` writes stderr as JSON
    lines; it is ``None`` if stderr is text. ``quiet`` says nothing on it. ``arguments`` are the command line, without
    secrets: errors print it with the flags that mend it.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        verbose: bool = False,
        log_format: LogFormat = "text",
        quiet: bool = False,
        arguments: Sequence[str] = (),
    ) -> None:
        self.json = json
        self.verbose = verbose
        self._arguments = arguments
        self.log = JsonLog() if log_format == "json" else None
        self.progress: rich.console.Console = (
            _Stream(stderr=True, quiet=quiet)
            if self.log is None
            else rich.console.Console(file=io.StringIO(), quiet=True, force_terminal=False)
        )
        self._stdout = _Stream()
        self._is_doing = False

    @property
    def shows_bars(self) -> bool:
        """Whether progress is a bar: on a terminal, and in Jupyter if it has the widgets that rich needs."""
        if self.progress.quiet:
            return False
        return find_spec("ipywidgets") is not None if self.progress.is_jupyter else self.progress.is_terminal

    @classmethod
    def for_arguments(cls, arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> Console:
        """Make the console that a command line or a variable chooses, even if the command line cannot be parsed."""
        options = arguments[: arguments.index("--")] if "--" in arguments else arguments
        return cls(
            json="--json" in options,
            verbose="-v" in options or "--verbose" in options,
            log_format=log_format(options, environ or {}),
            arguments=arguments,
        )

    def taking_stderr(self) -> AbstractContextManager[None]:
        """In the block, turn everything that libraries and workers write to stderr into JSON, if stderr is JSON."""
        return self.log.taking_all() if self.log else nullcontext()

    def result(
        self,
        values: Mapping[str, object],
        text: RenderableType | None = None,
        *,
        warnings: Iterable[Mapping[str, object]] = (),
        error: JobError | None = None,
    ) -> None:
        """Print the result of a command: ``values`` as JSON, else ``text``, else ``values`` a line each.

        ``warnings`` follow on stderr, each a ``message`` and a ``hint``, and what else the JSON log should have.
        ``error`` says why the result is not a success; it becomes part of the JSON object, or comes last on stderr.
        """
        if self.json:
            problem = {"error": self._as_values(error.kind, [Problem.of(error)])} if error else {}
            self._print_json({**values, **problem})
            self.warn(warnings)
            if error:
                self._log_failure(error.kind, [Problem.of(error)])
            return
        self._print(_as_lines(values) if text is None else text)
        self.warn(warnings)
        if error:
            self.failed(error.kind, [Problem.of(error)])

    def doing(self, what: str) -> None:
        """Show on a terminal ``what`` takes a moment now, until something else is printed there.

        A command that takes longer than half a second calls this first.
        """
        screen = self.progress
        if screen.is_terminal and not (screen.is_dumb_terminal or screen.quiet):
            self.clear()
            line = str(printable(on_one_line(redact(f"{what} …"))))
            self.progress.file.write(line[: self.progress.width - 1])
            self.progress.file.flush()
            self._is_doing = True

    def clear(self) -> None:
        """Remove the line of :meth:`doing`; whoever writes to the terminal calls this first."""
        if self._is_doing:
            self._is_doing = False
            self.progress.file.write(_ERASE)
            self.progress.file.flush()

    def note(self, text: str, *, level: str = "info", **fields: object) -> None:
        """Print a message that is not the result; a text marks warnings, a JSON log has ``level`` and ``fields``."""
        self.clear()
        if self.log:
            self.log.write(level, text, **fields)
        else:
            mark = "warning: " if level == "warning" else ""
            self.progress.print(printable(redact(mark + text)), soft_wrap=True)

    def warn(self, warnings: Iterable[Mapping[str, object]]) -> None:
        """Print warnings, each a ``message`` and a ``hint``; a JSON log has their other fields, too."""
        for warning in warnings:
            message, hint = (on_one_line(str(warning[name])) for name in ("message", "hint"))
            fields = {name: value for name, value in warning.items() if name != "message"}
            self.note(message if self.log else f"{message}\n  what to do: {hint}", level="warning", **fields)

    def failed(self, kind: str, problems: Sequence[Problem], error: BaseException | None = None) -> None:
        """Print an error; the first of ``problems`` sums up the others.

        ``error`` is given if its traceback helps. Of many problems the first are printed, with the number of the rest.
        """
        if self.log:
            self._log_failure(kind, problems, error)
        elif error is not None:
            self.note(_trace(error))
        if self.json:
            self._print_json({"error": self._as_values(kind, problems)})
        if self.json or self.log:
            return
        for problem in problems[: 1 + _IN_TEXT]:
            self.note("\n".join(self._lines(problem)))
        if (n_others := len(problems) - 1 - _IN_TEXT) > 0:
            self.note(f"and {n_others:,} more; --json lists up to {_IN_JSON}")

    def command_with(self, flag: str, *, without: str) -> str:
        """Return the command that was called, with ``flag`` in place of the option ``without`` and its value."""
        if not any(argument.partition("=")[0] == without for argument in self._arguments):
            return f"the same command with {flag} in place of {without}"
        return instead_of(self._arguments, without, flag)

    def styled(self, help_text: str) -> str:
        """Return the help of a command with the colours that stdout has."""
        with self._stdout.capture() as styled:
            self._stdout.print(HELP(help_text), soft_wrap=True, end="")
        return styled.get()

    def _log_failure(
        self, kind: str, problems: Sequence[Problem], error: BaseException | None = None
    ) -> None:
        if self.log:
            values = self._as_values(kind, problems) | ({"traceback": _trace(error)} if error else {})
            self.log.write("error", str(values.pop("message")), **values)

    def _lines(self, problem: Problem) -> Iterator[str]:
        yield f"error: {on_one_line(problem.message)}"
        if problem.hint:
            yield f"  what to do: {on_one_line(problem.hint)}"
        yield from (f"    {on_one_line(command)}" for command in self._commands(problem))

    def _as_values(self, kind: str, problems: Sequence[Problem]) -> dict[str, object]:
        summary, *rest = [self._problem_values(problem) for problem in problems[: 1 + _IN_JSON]]
        several = {"problems": rest, "n_problems": len(problems) - 1} if rest else {}
        return {"kind": kind, **summary, **several}

    def _problem_values(self, problem: Problem) -> dict[str, object]:
        commands = [redact(command) for command in self._commands(problem)]
        values = {"message": redact(problem.message), "hint": redact(problem.hint)}
        return values | ({"commands": commands} if commands else {})

    def _commands(self, problem: Problem) -> list[str]:
        return [with_flag(self._arguments, flag) for flag in problem.flags]

    def _print(self, text: RenderableType) -> None:
        self.clear()
        if isinstance(text, str) and self._stdout.is_terminal:
            text = fitted(text, self._stdout.width)
        self._stdout.print(printable(text), soft_wrap=True)

    def _print_json(self, values: Mapping[str, object]) -> None:
        self.clear()
        text = printable(json.dumps(values, allow_nan=False))
        self._stdout.print(text, soft_wrap=True, highlight=False)


class _Stream(rich.console.Console):
    """Prints text as it is but for a few coloured words: rich would interpret brackets and colons, and wrap lines."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
        width = None if is_terminal else _PIPE_WIDTH
        super().__init__(
            stderr=stderr, width=width, markup=False, highlighter=MESSAGES, emoji=False, quiet=quiet
        )

    def on_broken_pipe(self) -> None:
        """Ignore that the reader has gone (``| head``): it does not change how the command ends."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()


def _as_lines(values: Mapping[str, object]) -> str:
    longest = max(map(len, values), default=0)
    return "\n".join(f"{name:{longest}}  {value}" for name, value in values.items())
