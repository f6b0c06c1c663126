"""The base of every error that a user can mend.

    LvmBatchError     catch it to handle anything below
    ├── DataError     files, columns and outputs (``lvm_batch.io.errors``)
    ├── ModelError    models, banks and devices (``lvm_batch.lvm.errors``)
    └── JobError      settings, surroundings, gates (``lvm_batch.jobs.errors``)

The rule: an error says what is wrong and where, and what to do about it, wherever it is caught and after pickling.
"""

from __future__ import annotations

from typing import ClassVar


class LvmBatchError(Exception):
    """Something is wrong that the user can mend; ``args`` are the message and the hint."""

    kind: ClassVar[str] = "error"
    """Stable code for programs."""

    exit_code: ClassVar[int] = 2
    """Exit code of the command that ends with this error."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)

    @property
    def message(self) -> str:
        """What is wrong, and where."""
        return str(self.args[0])

    @property
    def hint(self) -> str:
        """What to do about it; may be empty."""
        return str(self.args[1]) if len(self.args) > 1 else ""

    def __str__(self) -> str:
        return f"{self.message}\n  what to do: {self.hint}" if self.hint else self.message
