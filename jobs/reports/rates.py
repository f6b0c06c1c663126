"""Rates and shares of the work, from the events and the seconds of each unit.

The rule: time is counted while a run was at work, so that a job that was resumed the next day is not called slow. A
unit's rows are spread evenly over the seconds that its parts took, up to the moment in which it was done.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from lvm_batch.jobs.reports.documents import Event

_BINS = 60
PARTS = {"read": ("read",), "compute": ("amn", "bank", "cosines", "gru"), "write": ("write",)}
"""The parts of a unit's seconds, and the smaller parts of each."""


@dataclass(slots=True)
class Session:
    """One run over the output: from its start to its end, or to its last event."""

    started: datetime
    ended: datetime
    workers: int
    state: str = "cut off"
    done: list[Event] = field(default_factory=list)

    @property
    def wall_s(self) -> float:
        """Seconds that it took; a clock that went backwards makes none."""
        return max(0.0, (self.ended - self.started).total_seconds())

    @property
    def rows(self) -> int:
        """Rows of the units that it finished."""
        return sum(event.rows_in for event in self.done)


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """The work of one worker; ``busy_s`` are the seconds of its units' parts."""

    name: str
    units: int
    rows: int
    busy_s: float

    @property
    def rate(self) -> float | None:
        """Rows a second, while busy."""
        return self.rows / self.busy_s if self.busy_s else None


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a job was; ``edges`` are seconds (n + 1,), ``rows_per_s`` (n,), ``resumed`` seconds at which a run began
    again.
    """

    sessions: tuple[Session, ...]
    workers: tuple[WorkerShare, ...]
    edges: NDArray[np.float64]
    rows_per_s: NDArray[np.float64]
    resumed: tuple[float, ...]

    @property
    def wall_s(self) -> float:
        """Seconds that runs were at work."""
        return sum(session.wall_s for session in self.sessions)

    @property
    def rows(self) -> int:
        """Rows of all units that were computed."""
        return sum(session.rows for session in self.sessions)

    @property
    def rate(self) -> float | None:
        """Rows a second over all runs."""
        return self.rows / self.wall_s if self.wall_s else None

    @property
    def busy(self) -> float | None:
        """The share of the workers' time in which they worked on units."""
        offered_s = sum(session.wall_s * session.workers for session in self.sessions)
        busy_s = sum(_busy_s(event) for session in self.sessions for event in session.done)
        return min(1.0, busy_s / offered_s) if offered_s else None


def rates_of(events: Iterable[Event], parts: Iterable[Iterable[Event]] = ()) -> Rates:
    """Return how fast the runs in ``events`` were, and the ``parts`` of a job, each with events of its own.

    Parts that were at work at the same time count as one run.
    """
    of_parts = _joined([session for part in parts for session in _sessions(part) if session.done])
    sessions = (*(session for session in _sessions(events) if session.done), *of_parts)
    starts = np.cumsum([0.0, *(session.wall_s for session in sessions)]).tolist()
    edges, rows_per_s = _over_time(sessions, starts)
    return Rates(sessions, _by_worker(sessions), edges, rows_per_s, tuple(starts[1 : len(sessions)]))


def shares_of(seconds: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """Return seconds as (whole, part, seconds), in the order of the work; unknown parts come last, by themselves."""
    known = [(whole, part) for whole, parts in PARTS.items() for part in parts]
    others = [("other", part) for part in sorted(seconds.keys() - {part for _, part in known})]
    return [(whole, part, seconds[part]) for whole, part in known + others if seconds.get(part)]


def _sessions(events: Iterable[Event]) -> list[Session]:
    sessions: list[Session] = []
    for event in events:
        if event.event == "run_started" or not sessions:
            sessions.append(Session(event.at, event.at, event.workers))
        session = sessions[-1]
        session.ended = max(session.ended, event.at)
        if event.event == "unit_done":
            session.done.append(event)
        elif event.event == "run_ended":
            session.state = event.state
    return sessions


def _joined(sessions: Iterable[Session]) -> list[Session]:
    """Join sessions that overlap in time; one of them has as many workers as there were in the mean."""
    joined: list[list[Session]] = []
    for session in sorted(sessions, key=lambda session: session.started):
        if joined and session.started < max(before.ended for before in joined[-1]):
            joined[-1].append(session)
        else:
            joined.append([session])
    return [_as_one(group) for group in joined]


def _as_one(sessions: Sequence[Session]) -> Session:
    one = Session(sessions[0].started, max(session.ended for session in sessions), 0)
    offered_s = sum(session.workers * session.wall_s for session in sessions)
    one.workers = round(offered_s / one.wall_s) if one.wall_s else sessions[0].workers
    one.state = next((each.state for each in sessions if each.state != "finished"), sessions[0].state)
    one.done = [event for session in sessions for event in session.done]
    return one


def _over_time(
    sessions: Sequence[Session], starts: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spread rows over time, one run behind the other: those done by an edge, less those done by the edge before."""
    units = [
        (start, min(wall_s, max(0.0, (event.at - session.started).total_seconds())), event)
        for session, start, wall_s in zip(sessions, starts, (s.wall_s for s in sessions), strict=False)
        for event in session.done
    ]
    total_s = starts[-1]
    if not units or not total_s:
        return np.zeros(1), np.zeros(0)
    edges = np.linspace(0, total_s, min(_BINS, 4 * len(units)) + 1)
    rows = np.zeros(len(edges))
    for start, end_s, event in units:
        begin_s = start + max(0.0, end_s - _busy_s(event))
        took_s = max(start + end_s - begin_s, 1e-9)
        rows += event.rows_in * np.clip((edges - begin_s) / took_s, 0, 1)
    return edges, np.diff(rows) / np.diff(edges)


def _by_worker(sessions: Sequence[Session]) -> tuple[WorkerShare, ...]:
    by_name: dict[str, list[Event]] = defaultdict(list)
    for session in sessions:
        for event in session.done:
            if event.worker:
                by_name[event.worker].append(event)
    return tuple(
        WorkerShare(name, len(done), sum(e.rows_in for e in done), sum(map(_busy_s, done)))
        for name, done in sorted(by_name.items())
    )


def _busy_s(event: Event) -> float:
    return sum(event.seconds.values())
