"""The errors that end a job, grouped by what the caller does about them.

    JobError              anything below; exit 2 unless a line here says otherwise
    ├── UsageError        the command line does not make sense
    ├── MissingExtra      an option needs a package that is not installed
    ├── SurroundingsError the machine lacks something or does not allow it; change that
    ├── SettingsError     settings are unknown, missing or out of range; lists every one of them
    ├── UnitsFailed       the job ran, but parts of it have no output (exit 1); the same command does them
    ├── NotRegistered     the job ran, but a table cannot take its files (exit 1); the same command tries again
    ├── NotVerified       files of an output differ from their records (exit 1); remove them, run again
    ├── GateFailed        the job ran and its result is not good enough (exit 3); look at the output
    ├── TryAgain          something is locked or unreachable (exit 75); the same command may work later
    └── Interrupted       stopped by Ctrl-C (exit 130); the same command resumes
        └── Terminated    stopped by SIGTERM (exit 143)

Every error carries two texts, what is wrong and what to do about it: ``args == (message, hint)``. ``kind`` is a stable
code for programs, ``exit_code`` the exit code of the command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lvm_batch.errors import LvmBatchError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Lines(str):
    """A hint of several lines, such as commands to paste; a new line in any other text is shown escaped."""

    __slots__ = ()

    def __new__(cls, lines: Iterable[str]) -> Self:
        """Join the lines; new lines within one are escaped: a name could look like a line of ours."""
        return super().__new__(cls, "\n".join(line.replace("\n", "\\n") for line in lines))

    def __reduce__(self) -> tuple[type[Lines], tuple[list[str]]]:
        return type(self), (self.splitlines(),)


class Problem(NamedTuple):
    """One thing that is wrong: what and where, and what to do about it.

    ``flags`` are options with their values, as a shell takes them; each of them, added to the command line, mends it.
    """

    message: str
    hint: str = ""
    flags: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """Return what an error of any room tells: its message, its hint, and the ``flags`` that it may have."""
        message, hint, *_ = (*error.args, "")
        return cls(message, hint, tuple(getattr(error, "flags", ())))


class JobError(LvmBatchError):
    """Base of all errors of this room; ``args`` are the message and the hint.

    ``result`` is what the job has made all the same, if it ended with this error; only Python's functions set it.
    """

    kind = "job"
    result: Any = None


class UsageError(JobError):
    """The command line does not make sense."""

    kind = "usage"


class MissingExtra(JobError):
    """An option needs a package that is not installed; the hint is the pip command that installs it."""

    kind = "missing_extra"


class SurroundingsError(JobError):
    """The machine lacks something that is needed, or does not allow it."""

    kind = "os"


class SettingsError(JobError):
    """Settings cannot be used; ``problems`` holds all that is wrong with them."""

    kind = "settings"

    def __init__(self, *problems: Problem) -> None:
        several = Problem(f"{len(problems)} problems found", "fix all of them, then try again")
        super().__init__(*(problems[0] if len(problems) == 1 else several)[:2])
        self.problems = problems
        self.flags = problems[0].flags if len(problems) == 1 else ()

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return super().__str__()
        return "\n".join((self.message, *(f"- {LvmBatchError(*each[:2])}" for each in self.problems)))

    def __reduce__(self) -> tuple[type[SettingsError], tuple[Problem, ...]]:
        return type(self), self.problems


class UnitsFailed(JobError):
    """The job ended, but some of its units have no output."""

    kind = "units_failed"
    exit_code = 1


class NotRegistered(JobError):
    """The job is a success, but a table cannot take its files."""

    kind = "not_registered"
    exit_code = 1


class NotVerified(JobError):
    """Files of an output differ from their records, or units are missing."""

    kind = "not_verified"
    exit_code = 1


class GateFailed(JobError):
    """The job ran, but its result is not good enough to be used without a look."""

    kind = "gate"
    exit_code = 3


class TryAgain(JobError):
    """Something is locked or unreachable for now."""

    kind = "try_again"
    exit_code = 75


class Interrupted(JobError):
    """The job was stopped by Ctrl-C."""

    kind = "interrupted"
    exit_code = 130


class Terminated(Interrupted):
    """The job was stopped by SIGTERM."""

    exit_code = 143
