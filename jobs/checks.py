"""Checks that do not stop at the first error.

The rule: all checks run, and all their errors are raised together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from lvm_batch.io.errors import DataError
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.lvm.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Checks:
    """Runs checks one after the other and keeps their errors."""

    def __init__(self) -> None:
        self.errors: list[DataError | ModelError] = []

    def run(self, check: Callable[[], T]) -> T | None:
        """Return what ``check`` returns; if it raises an error, keep that and return ``None``."""
        try:
            return check()
        except (DataError, ModelError) as error:
            self.errors.append(error)
            return None

    def raise_all(self) -> None:
        """Raise the kept errors: a single one as it is, several as one ``SettingsError``."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise SettingsError(*(Problem(*error.args) for error in self.errors))
