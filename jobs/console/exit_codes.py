"""How a command that failed ends: the exit code of an error, and the error as it is told to programs.

The rule: an error has the same exit code and the same kind wherever it is told. This module does not know how an error
looks to people (``console``).
"""

from __future__ import annotations

from typing import Any

from lvm_batch.jobs.errors import Interrupted, JobError, Problem, SettingsError, TryAgain

BUG = 70

_TOLD_PROBLEMS = 10


def as_told(error: BaseException) -> BaseException:
    """Return the error that users are told of: ``error`` itself, or the fault of the surroundings behind it."""
    from lvm_batch.io.errors import DataError
    from lvm_batch.jobs.processes.system_errors import fault_of
    from lvm_batch.lvm.errors import ModelError

    if isinstance(error, (JobError, DataError, ModelError)):
        return error
    return fault_of(error) or error


def exit_code_of(error: BaseException) -> int:
    """Return what the command exits with where ``error`` ends it."""
    from lvm_batch.io.errors import DataError, OutputLocked
    from lvm_batch.lvm.errors import ModelError

    match as_told(error):
        case OutputLocked():
            return TryAgain.exit_code
        case JobError() as known:
            return known.exit_code
        case DataError() | ModelError():
            return JobError.exit_code
        case KeyboardInterrupt():
            return Interrupted.exit_code
    return BUG


def error_of(error: BaseException) -> dict[str, Any]:
    """Return the kind, message and hint of ``error``, and the first of several problems, without credentials."""
    from lvm_batch.io.storage.redaction import redacted

    def told(problem: Problem) -> dict[str, str]:
        return {name: redacted(text) for name, text in problem._asdict().items()}

    error, code = as_told(error), exit_code_of(error)
    if code == BUG:
        return {"kind": "bug", **told(Problem(f"{type(error).__name__}: {error}"))}
    if isinstance(error, KeyboardInterrupt):
        return {"kind": Interrupted.kind, **told(Problem("interrupted"))}
    problems = error.problems[:_TOLD_PROBLEMS] if isinstance(error, SettingsError) else ()
    several = {"problems": [told(problem) for problem in problems]} if len(problems) > 1 else {}
    return {"kind": getattr(error, "kind", JobError.kind), **told(Problem(*error.args[:2])), **several}
