"""The exit code of an error, and the error as JSON.

The rule: an error has the same exit code and the same kind wherever it is reported.
"""

from __future__ import annotations

from typing import Any

from lvm_batch.errors import LvmBatchError
from lvm_batch.jobs.errors import Interrupted, JobError, Problem, SettingsError

BUG = 70

_MAX_PROBLEMS = 10


def reported_error(error: BaseException) -> BaseException:
    """Return the error to report: ``error`` itself, or the error of the system that caused it."""
    from lvm_batch.jobs.processes.system_errors import system_error

    if isinstance(error, LvmBatchError):
        return error
    return system_error(error) or error


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with ``error``."""
    match reported_error(error):
        case LvmBatchError() as known:
            return known.exit_code
        case KeyboardInterrupt():
            return Interrupted.exit_code
    return BUG


def error_as_dict(error: BaseException) -> dict[str, Any]:
    """Return the kind, message and hint of ``error``, and the first ten of several problems, without credentials."""
    from lvm_batch.io.storage.redaction import redact

    def as_dict(problem: Problem) -> dict[str, str]:
        return {"message": redact(problem.message), "hint": redact(problem.hint)}

    error, code = reported_error(error), exit_code_of(error)
    if code == BUG:
        return {"kind": "bug", **as_dict(Problem(f"{type(error).__name__}: {error}"))}
    if isinstance(error, KeyboardInterrupt):
        return {"kind": Interrupted.kind, **as_dict(Problem("interrupted"))}
    problems = error.problems[:_MAX_PROBLEMS] if isinstance(error, SettingsError) else ()
    several = {"problems": [as_dict(problem) for problem in problems]} if len(problems) > 1 else {}
    return {"kind": getattr(error, "kind", JobError.kind), **as_dict(Problem(*error.args[:2])), **several}
