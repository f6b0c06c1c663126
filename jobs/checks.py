"""Checks that do not stop at the first error.

The rule: all checks run, and all their errors are raised together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from lvm_batch.io.errors import ColumnError, DataError
from lvm_batch.jobs.errors import MissingExtra, Problem, SettingsError, UsageError
from lvm_batch.lvm.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    CheckError = DataError | ModelError | SettingsError | UsageError | MissingExtra

_CHECK_ERRORS = (DataError, ModelError, SettingsError, UsageError, MissingExtra)

T = TypeVar("T")


class Checks:
    """Runs checks one after the other and keeps their errors: what a user can mend before any work."""

    def __init__(self) -> None:
        self.errors: list[CheckError] = []

    def run(self, check: Callable[[], T]) -> T | None:
        """Return what ``check`` returns; if it raises an error, keep that and return ``None``."""
        try:
            return check()
        except _CHECK_ERRORS as error:
            self.errors.append(error)
            return None

    def add_of_files(self, errors: Iterable[tuple[str, DataError]], n_files: int) -> None:
        """Keep the errors of files, by their paths; columns that are wrong alike in several files are one error.

        ``n_files`` counts all files.
        """
        alike: dict[tuple[str, ...], list[tuple[str, DataError]]] = {}
        for path, error in errors:
            parts = (error.kind, *(str(part).replace(path, "") for part in error.args))
            alike.setdefault(parts if isinstance(error, ColumnError) else (path,), []).append((path, error))
        self.errors.extend(_grouped(found, n_files) for found in alike.values())

    def raise_all(self) -> None:
        """Raise the kept errors, if there are any."""
        if self.errors:
            raise self.all_errors()

    def all_errors(self) -> Exception:
        """Return the kept errors, at least one: a single one as it is, several as one ``SettingsError``."""
        if len(self.errors) == 1:
            return self.errors[0]
        return SettingsError(*(problem for error in self.errors for problem in _problems(error)))


def _grouped(found: Sequence[tuple[str, DataError]], n_files: int) -> DataError:
    """Return one error for all files that have the same one; it names the first."""
    (_, error), *others = found
    if not others:
        return error
    message, *hint = error.args
    return type(error)(f"{message} (the same problem in {len(found):,} of {n_files:,} files)", *hint)


def _problems(error: CheckError) -> Sequence[Problem]:
    return error.problems if isinstance(error, SettingsError) else [Problem.of(error)]
