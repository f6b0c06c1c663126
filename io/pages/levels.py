"""Repetition and definition levels: whether they say that all rows are full lists of one width.

The rule: levels are checked, every one of them, and never decoded into memory. Levels lie in runs of one value and in
packed groups of eight; a row of vectors takes a run and a group or two, and the bytes of a row repeat from row to row.
https://github.com/apache/parquet-format/blob/master/Encodings.md#RLE
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.io.pages.thrift import Irregular, read_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MIN_WIDTH = 8
"""Rows of fewer values are left to Arrow."""

_PACKED = 8  # values in a group


@dataclass(frozen=True, slots=True)
class Lists:
    """Rows of ``width`` values: in one list (``depth`` 1), or in lists of ``inner`` values (``depth`` 2)."""

    width: int
    inner: int
    depth: int


def check_full(levels: bytes, n_values: int, level: int) -> None:
    """Raise :class:`Irregular` unless all of ``n_values`` levels are ``level``: no value is null, no list empty."""
    bits = level.bit_length()
    for run in _runs(levels, bits, n_values):
        is_full = run.value == level if run.packed is None else _is_all(run, bits, level)
        if not is_full:
            raise Irregular


def check_lists(levels: bytes, n_values: int, *, first: int, lists: Lists) -> None:
    """Raise :class:`Irregular` unless the levels are those of ``lists``; ``first`` values of the column go before."""
    bits = lists.depth.bit_length()
    at = done = 0
    mark: tuple[int, int] | None = None  # where a row began, in bytes and in values
    while done < n_values:
        if (first + done) % lists.width == 0:
            if mark is not None and mark[1] < done:
                skipped = _repeats(levels, mark[0], at, left=(n_values - done) // (done - mark[1]))
                at += skipped * (at - mark[0])
                done += skipped * (done - mark[1])
                mark = None
                continue
            mark = at, done
        run = _run(levels, at, bits, n_values - done)
        _check_run(run, first + done, lists, bits)
        at, done = run.end, done + run.count
    if at > len(levels):
        raise Irregular


@dataclass(frozen=True, slots=True)
class _Run:
    """``count`` levels: all of ``value``, or ``packed``; ``end`` is where the next run begins."""

    count: int
    value: int
    packed: bytes | None
    end: int


def _runs(levels: bytes, bits: int, n_values: int) -> Iterator[_Run]:
    at = done = 0
    while done < n_values:
        run = _run(levels, at, bits, n_values - done)
        yield run
        at, done = run.end, done + run.count


def _run(levels: bytes, at: int, bits: int, left: int) -> _Run:
    """Return the run at byte ``at``, of which at most ``left`` levels count."""
    try:
        head, at = read_varint(levels, at)
        if head & 1:
            end = at + (head >> 1) * bits
            run = _Run(min((head >> 1) * _PACKED, left), 0, levels[at:end], end)
        else:
            run = _Run(min(head >> 1, left), levels[at], None, at + 1)
    except IndexError as error:
        raise Irregular from error
    if run.count <= 0 or run.end > len(levels):
        raise Irregular
    return run


def _repeats(levels: bytes, start: int, end: int, *, left: int) -> int:
    """Return how often the bytes from ``start`` to ``end`` follow there again, ``left`` times or not at all."""
    size = end - start
    times = min(left, (len(levels) - end) // size) if size else 0
    if times <= 0:
        return 0
    known = memoryview(levels)[start : end + times * size]
    return times if known[size:] == known[:-size] else 0


def _check_run(run: _Run, first: int, lists: Lists, bits: int) -> None:
    if run.packed is not None:
        expected = _expected(first, run.count, lists)
        if not np.array_equal(_unpacked(run.packed, bits, run.count), expected):
            raise Irregular
        return
    step = lists.inner
    if run.value == lists.depth:
        if -(-first // step) * step < first + run.count:
            raise Irregular
    elif run.count != 1 or run.value != _level(first, lists):
        raise Irregular


def _level(place: int, lists: Lists) -> int:
    if place % lists.width == 0:
        return 0
    return 1 if place % lists.inner == 0 else lists.depth


def _expected(first: int, count: int, lists: Lists) -> NDArray[np.uint8]:
    levels = np.full(count, lists.depth, np.uint8)
    levels[-first % lists.inner :: lists.inner] = 1
    levels[-first % lists.width :: lists.width] = 0
    return levels


def _unpacked(packed: bytes, bits: int, count: int) -> NDArray[np.uint8]:
    single = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    if bits == 1:
        return single[:count]
    wide = single[: count * bits].reshape(-1, bits)
    return np.asarray(wide @ (1 << np.arange(bits, dtype=np.uint8)), np.uint8)


def _is_all(run: _Run, bits: int, level: int) -> bool:
    assert run.packed is not None  # noqa: S101 - the caller has looked
    return bool((_unpacked(run.packed, bits, run.count) == level).all())
