"""Checks that do not stop at the first complaint.

The rule: what one check finds does not keep the others from looking, and all of it is told at once.
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
    """Runs checks one after the other and keeps what they complain of."""

    def __init__(self) -> None:
        self.errors: list[DataError | ModelError] = []

    def run(self, check: Callable[[], T]) -> T | None:
        """Return what ``check`` returns, or ``None`` and keep its error."""
        try:
            return check()
        except (DataError, ModelError) as error:
            self.errors.append(error)
            return None

    def raise_all(self) -> None:
        """Raise what was kept: one error as it is, several together."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise SettingsError(*(Problem(*error.args) for error in self.errors))
