"""The ids of a bank, by which neighbours are named one answer at a time.

The rule: a number of neighbours that cannot be named has a reason, which is known before a model runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lvm_batch.io.bank.bank import open_bank
from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class NamedBank:
    """The ids of a bank's vectors, or why there are none."""

    ids: pa.Array | None = None
    lacks: str = "there is no --bank"

    @classmethod
    def of(cls, path: str | None) -> NamedBank:
        """Read the ids of the bank at ``path``, if there is one; raises ``UnreadableFile``."""
        if path is None:
            return cls()
        ids = open_bank(path, with_index=False).read_ids()
        return cls(None, "the bank has no ids") if ids is None else cls(ids.values)

    def problem(self, wanted: int) -> str | None:
        """Return why so many neighbours cannot be named, ``None`` if they can."""
        if not wanted:
            return None
        if self.ids is None:
            return f"cannot be answered: {self.lacks}"
        return (
            f"is more than the bank's {plural(len(self.ids), 'vector')}" if wanted > len(self.ids) else None
        )

    def names(self, places: NDArray[np.int64]) -> list[Any]:
        """Return the ids of vectors as JSON values; those that JSON has no form for as text."""
        assert self.ids is not None  # noqa: S101 - or there is a problem
        return [_plain(value) for value in self.ids.take(pa.array(places)).to_pylist()]


def _plain(value: object) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):  # an article and a position
        return {name: _plain(each) for name, each in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
