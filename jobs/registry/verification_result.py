"""The result of a verification, as values and as text.

The rule: every check has a line that says what was found, and a failed one is the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import GateFailed

if TYPE_CHECKING:
    from lvm_batch.jobs.models.seen_rows import SeenRows
    from lvm_batch.jobs.registry.candidate import Candidate
    from lvm_batch.jobs.registry.model_checks import Check, Cosines
    from lvm_batch.jobs.registry.retrieval_gates import Retrieval


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The result of the checks of a candidate; ``notes`` say what could not be compared, and why.

    ``seen`` counts the rows that it was trained on, None if there were no rows or its checkpoint does not tell.
    """

    candidate: Candidate
    checks: tuple[Check, ...]
    cosines: Cosines | None = None
    notes: tuple[str, ...] = ()
    seen: SeenRows | None = None
    retrieval: Retrieval | None = None

    @property
    def error(self) -> GateFailed | None:
        """Why the model may not have the role; None if it may."""
        failed = [check.name for check in self.checks if not check.passed]
        if not failed:
            return None
        n_checks = plural(len(self.checks), "check")
        message = f"{self.candidate.name} fails {len(failed)} of {n_checks}: {', '.join(failed)}"
        return GateFailed(message, "see the lines of these checks above")

    def values(self) -> dict[str, Any]:
        """Return the result as plain values."""
        candidate = self.candidate
        return {
            "name": candidate.name,
            "path": candidate.path,
            "sha256": candidate.sha256,
            "architecture": candidate.checkpoint.architecture if candidate.checkpoint else None,
            "role": candidate.role,
            "passed": self.error is None,
            "checks": [check.values() for check in self.checks],
            "cosine": self.cosines.values() if self.cosines else None,
            "seen": self.seen.values() if self.seen else None,
            "retrieval": self.retrieval.values() if self.retrieval else None,
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """Return the result as text, a line for each check."""
        purpose = f" for {self.candidate.role}" if self.candidate.role else ""
        head = f"{self.candidate.name}{purpose}, sha256 {self.candidate.sha256[:12]}"
        lines = [f"{_verdict(check):<8}{check.name:<14}{check.found}" for check in self.checks]
        return "\n".join([head, *lines, *(f"{'note':<8}{note}" for note in self.notes)])


def _verdict(check: Check) -> str:
    return "ok" if check.passed else "failed"
