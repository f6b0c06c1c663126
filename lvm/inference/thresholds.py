"""The thresholds that send a row from the primary model to the fallback.

The rule: the defaults are those of the models' cards. Imports neither numpy nor torch, so that a command can print its
help without delay; ``routing`` evaluates the criteria.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OwnContext = Literal["drop", "keep"]
"""Whether a row's own context vectors count as neighbours of its prediction where the bank holds them."""

HIGH_STAKES_LANES = ("sci-fact", "math-derivation", "med-guideline", "policy/procedure")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The bounds of the escalation criteria. A row exactly on a bound is not escalated.

    ``min_confidence``: lowest cosine of the prediction with its nearest neighbour in the bank, in [-1, 1].
    ``min_margin``: lowest difference of the nearest and the second nearest cosine.
    ``max_context_tokens``: longest context, in tokens.
    ``high_stakes_lanes``: lanes whose rows are always escalated, spelled exactly as in the data.
    """

    min_confidence: float = 0.70
    min_margin: float = 0.02
    max_context_tokens: float = 384
    high_stakes_lanes: tuple[str, ...] = HIGH_STAKES_LANES
