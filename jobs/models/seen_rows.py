"""How many of the rows that judge a model it has been trained on.

The rule: rows of which the model's digest tells nothing count neither as seen nor as new, and a model without a digest
has no count.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lvm_batch.lvm.checkpoints.training_vectors import TrainingVectors

MAX_SEEN = 0.10
"""The share of seen rows above which figures do not tell how a model does on others.

``amn`` is 0.0327 above the mean of the context on the Wikipedia articles that it was trained on, and 0.0189 on others
(2026-11-29): a tenth of seen rows lifts a mean by 0.0014, well within the 0.005 by which it differs between two samples
of articles. Honest sets are far below: 2 % of the rows of textbook sections kept apart stand in others word for word.
"""

UNKNOWN = "the checkpoint keeps no digest of its training vectors"


@dataclass(frozen=True, slots=True)
class SeenRows:
    """Of ``told`` rows, out of all ``rows``, the model has ``seen`` so many.

    ``trained_on`` is the number of vectors that it was trained on, and a new vector is taken for one of them with the
    probability ``false_positive_rate``.
    """

    rows: int
    told: int
    seen: int
    trained_on: int
    false_positive_rate: float

    @classmethod
    def of(cls, told: NDArray[np.int8], digest: TrainingVectors) -> SeenRows:
        """Count rows, int8 (n,), as ``TrainingVectors.tell_rows`` returns them."""
        from lvm_batch.lvm.checkpoints.training_vectors import SEEN, UNTOLD

        n_told, n_seen = int((told != UNTOLD).sum()), int((told == SEEN).sum())
        return cls(len(told), n_told, n_seen, digest.n_vectors, digest.false_positive_rate)

    @property
    def share(self) -> float | None:
        """The seen rows as a share of those that the digest tells of; None if it tells of none."""
        return self.seen / self.told if self.told else None

    def values(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return {**asdict(self), "share": self.share}

    @property
    def text(self) -> str:
        """The counts in words: "12 of 300 rows (4.0%) were in its training"."""
        which = "" if self.told == self.rows else f" that its digest tells of, of {self.rows:,},"
        share = "" if self.share is None else f" ({self.share:.1%})"
        return f"{self.seen:,} of {plural(self.told, 'row')}{which}{share} were in its training"
