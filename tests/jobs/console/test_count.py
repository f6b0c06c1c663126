"""The time that is left, from a clock that the tests turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_batch.jobs.console.count import Count


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock at zero."""
    return Clock()


def count_at(clock: Clock, done: int, at_s: float, *, total: int = 1000, before: int = 0) -> Count:
    """A count of which ``done`` are done at ``at_s``."""
    count = Count(total=total, done=before, clock=clock)
    clock.now_s = at_s
    count.reach(done)
    return count


def test_no_time_is_told_before_it_is_known(clock: Clock) -> None:
    """Neither before the first step, nor from a step in the first moments, nor without a total, nor at the end."""
    assert Count(total=10, clock=clock).left == ""
    assert count_at(clock, 500, 1).left == ""
    assert count_at(clock, 1000, 10).left == ""
    unknown = Count(clock=clock)
    clock.now_s = 20
    unknown.reach(10)
    assert unknown.left == ""


def test_the_time_follows_from_all_the_work_so_far(clock: Clock) -> None:
    """A tenth took 10 s, so the rest takes 90 s; what was done before says nothing about the pace."""
    assert count_at(clock, 100, 10).left_s == pytest.approx(90)
    clock.now_s = 0
    assert count_at(clock, 600, 10, before=500).left_s == pytest.approx(40)


def test_it_counts_down_between_steps_and_grows_where_none_comes(clock: Clock) -> None:
    """A bar that stands does not say that the end is near."""
    count = count_at(clock, 500, 10)
    clock.now_s = 13
    assert count.left_s == pytest.approx(7)
    clock.now_s = 130
    assert count.left_s == pytest.approx(65)


def test_what_is_given_up_is_not_left(clock: Clock) -> None:
    """Rows of failed units take no more time."""
    count = count_at(clock, 100, 10)
    count.give_up(800)
    assert count.left == "about 10 s left"
    count.give_up(100)
    assert count.left == ""


def test_a_resumed_work_begins_anew(clock: Clock) -> None:
    """The pace is that of the work after it."""
    count = Count(total=100, clock=clock)
    clock.now_s = 100
    count.begin_at(50)
    clock.now_s = 110
    count.add(10)
    assert count.per_s == pytest.approx(1)
    assert count.left_s == pytest.approx(40)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(9.6, "about 10 s left"), (150, "about 2 min left"), (7500, "about 2 h 5 min left")],
)
def test_times_are_told_in_words(seconds: float, words: str, clock: Clock) -> None:
    """In seconds, in minutes, or in hours and minutes."""
    assert count_at(clock, 500, seconds).left == words


def test_amounts_have_separators_and_the_right_number(clock: Clock) -> None:
    """Thousands are separated; one is not many."""
    assert Count("vector", clock=clock, done=1).amount == "1 vector"
    assert Count(total=1, clock=clock).amount == "0 of 1 row"
    assert count_at(clock, 1234, 1, total=5678).line("2 units failed") == (
        "1,234 of 5,678 rows (22%), 1,234 rows/s, 2 units failed"
    )


@given(
    steps=st.lists(st.tuples(st.floats(0.01, 1e4), st.integers(1, 50)), min_size=1, max_size=30),
    waited=st.floats(0, 1e6),
)
def test_a_time_is_never_negative_and_never_short_of_half_the_pace(
    steps: list[tuple[float, int]], waited: float
) -> None:
    """Whatever the steps, what is left takes at least half of what it would take at the mean pace so far."""
    clock = Clock()
    count = Count(total=10_000, clock=clock)
    for seconds, done in steps:
        clock.now_s += seconds
        count.add(done)
    clock.now_s += waited
    if count.left_s is not None:
        assert count.left_s >= 0.49 * (10_000 - count.done) / count.per_s
