"""How much of a piece of work is done, how fast it goes, and how long the rest takes.

The rule: a time that is left is told once it is known, and follows from all the work so far: it counts down between
steps, and grows where no step comes.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable

_KNOWN_AFTER_S = 2
_LEAST_SHARE = 0.5
"""The countdown stops at this share of what the pace so far, waiting included, would still take."""

_MINUTE_S, _HOUR_S = 60, 3600


class Count:
    """Counts the rows, or other things named by ``noun``, of a piece of work; ``total`` is ``None`` if it is unknown.

    What is ``done`` at the beginning was done before, and says nothing about the pace.
    """

    def __init__(
        self,
        noun: str = "row",
        *,
        total: int | None = None,
        done: int = 0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.noun, self.total, self.done = noun, total, done
        self._before = done
        self._given_up = 0
        self._clock = clock
        self._start = self._last = clock()

    def begin_at(self, done: int) -> None:
        """Begin anew, with what earlier work has done."""
        self.done = self._before = done
        self._start = self._last = self._clock()

    def add(self, n: int) -> None:
        """Count ``n`` more as done."""
        self.reach(self.done + n)

    def reach(self, done: int) -> None:
        """Count everything up to ``done`` as done."""
        if done > self.done:
            self.done, self._last = done, self._clock()

    def give_up(self, n: int) -> None:
        """Count ``n`` as neither done nor left."""
        self._given_up += n

    @property
    def seconds(self) -> float:
        """The time since the beginning."""
        return self._clock() - self._start

    @property
    def per_s(self) -> float:
        """The mean pace since the beginning."""
        return (self.done - self._before) / max(1e-9, self.seconds)

    @property
    def left_s(self) -> float | None:
        """Seconds for what is left; ``None`` if that is nothing or not known yet."""
        made, worked_s = self.done - self._before, self._last - self._start
        left = 0 if self.total is None else self.total - self.done - self._given_up
        if left <= 0 or not made or worked_s < _KNOWN_AFTER_S:
            return None
        waited_s = self._clock() - self._last
        return left / made * max(worked_s - waited_s * made / left, _LEAST_SHARE * (worked_s + waited_s))

    @property
    def amount(self) -> str:
        """The amount in words: "1,234 of 5,678 rows"."""
        if self.total is None:
            return plural(self.done, self.noun)
        return f"{self.done:,} of {plural(self.total, self.noun)}"

    @property
    def pace(self) -> str:
        """The pace in words: "1,234 rows/s"."""
        return f"{self.per_s:,.0f} {self.noun}s/s"

    @property
    def left(self) -> str:
        """The time that is left in words: "about 2 min left"; empty if it is not known."""
        return "" if self.left_s is None else f"about {_span(self.left_s)} left"

    def line(self, detail: str = "") -> str:
        """Return everything in a line, ``detail`` before the time that is left."""
        share = "" if self.total is None else f" ({self.done / max(1, self.total):.0%})"
        return ", ".join(filter(None, (self.amount + share, self.pace, detail, self.left)))


def _span(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    hours, minutes = divmod(round(seconds / _MINUTE_S), 60)
    return f"{hours} h {minutes} min"
