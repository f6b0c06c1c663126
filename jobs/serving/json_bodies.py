"""Queries as JSON, read.

The rule: what is right is read without looking at each number in Python; only a body that turns out wrong is looked
through, number by number, to say where. Numbers are rounded to float32 as a column of float64 is. Does not know HTTP.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from lvm_batch.jobs.serving.bodies import MOST_PROBLEMS, Problem, unusable
from lvm_batch.jobs.serving.json_vectors import QuickReader, is_token_count
from lvm_batch.jobs.serving.rows import Rows, joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lvm_batch.io.vectors.decoding import Pad

Place = tuple[str | int, ...]

KEYS = ("context", "lane", "context_tokens", "target")
TOO_LARGE = 2.0**128 - 2.0**103
"""The least number that float32 rounds to infinity."""

_USABLE = np.ones(1, np.bool_)  # what cannot be used is refused


@dataclass(frozen=True, slots=True)
class Query:
    """One row that was read: its row, and what a run would say of it, such as ``padded: 3``."""

    rows: Rows
    detail: str | None


def room_for(body: bytes, *, row_bytes: int) -> int:
    """Return the bytes that a body takes at most as Python's objects, with ``row_bytes`` for each of its rows.

    A list or an object takes 64 bytes empty, and whatever a comma separates 40.
    """
    counts = np.bincount(np.frombuffer(body, np.uint8), minlength=256)
    n_open = int(counts[ord("[")] + counts[ord("{")])
    return len(body) + 64 * n_open + 40 * int(counts[ord(",")]) + row_bytes * int(counts[ord("{")])


class QueryReader:
    """Reads queries for models of contexts of ``length`` vectors of ``dim``."""

    def __init__(self, *, length: int, dim: int, pad: Pad | None) -> None:
        self._length, self._dim = length, dim
        self._pad: Pad = pad or "repeat"
        self._quick = QuickReader(dim)
        self._packed = struct.Struct(f"<{dim}f").pack  # with < it refuses what float32 cannot hold

    def query(self, body: bytes) -> Query:
        """Read a body of one query; in one thread at a time. Raises :class:`Refusal`."""
        found = self._quick.read(body)
        if found is not None and (len(found.vectors) >= self._length or self._pad != "reject"):
            context, detail = self._whole(found.vectors, ("body", "context"))
            tokens = np.nan if found.tokens is None else found.tokens
            rows = Rows(context[np.newaxis], (found.lane,), np.array((tokens,), np.float64), None, _USABLE)
            return Query(rows, detail)
        value, doubtful = _parsed(body)
        return self._query(value, ("body",), doubtful=doubtful)

    def queries(self, body: bytes) -> tuple[Rows, list[str | None]]:
        """Read a body of ``rows``; return them together, and the detail of each. Raises :class:`Refusal`."""
        value, doubtful = _parsed(body)
        _check_object(value, ("rows",), ("body",))
        rows = value.get("rows")
        if not isinstance(rows, list) or not rows:
            raise unusable(Problem(("body", "rows"), "must be a list of one query or more", "wrong_type"))
        read = [
            self._query(row, ("body", "rows", place), doubtful=doubtful) for place, row in enumerate(rows)
        ]
        return joined([query.rows for query in read]), [query.detail for query in read]

    def _query(self, value: Any, place: Place, *, doubtful: bool) -> Query:  # noqa: ANN401 - whatever JSON holds
        _check_object(value, KEYS, place)
        context, detail = self._context(value.get("context"), (*place, "context"), doubtful=doubtful)
        target = value.get("target")
        targets = None
        if target is not None:
            targets = self._vectors([target], (*place, "target"), doubtful=doubtful, single=True)
        lane = _lane(value.get("lane"), (*place, "lane"))
        tokens = _tokens(value.get("context_tokens"), (*place, "context_tokens"))
        rows = Rows(context[np.newaxis], (lane,), np.array((tokens,), np.float64), targets, _USABLE)
        return Query(rows, detail)

    def _context(self, value: Any, place: Place, *, doubtful: bool) -> tuple[NDArray[np.float32], str | None]:  # noqa: ANN401
        if not isinstance(value, list) or not value:
            kind = "null" if value is None else "wrong_length" if value == [] else "wrong_type"
            raise unusable(
                Problem(place, f"must be a list of {self._length} vectors of {self._dim} numbers", kind)
            )
        n_vectors = len(value)
        if n_vectors < self._length and self._pad == "reject":
            message = f"holds {n_vectors} vectors, not {self._length}, and --pad is reject"
            raise unusable(Problem(place, message, "wrong_length"))
        return self._whole(self._vectors(value, place, doubtful=doubtful), place)

    def _whole(self, vectors: NDArray[np.float32], place: Place) -> tuple[NDArray[np.float32], str | None]:
        """Cut vectors to as many as a context has, or pad them; what is left must not be zero throughout."""
        kept = vectors[-self._length :]
        if not kept.any():
            raise unusable(Problem(place, "holds nothing but zeros, as float32 has it", "zero_norm"))
        if len(kept) < self._length:
            return self._padded(kept), f"padded: {len(kept)}"
        return kept, None

    def _padded(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        first = vectors[:1] if self._pad == "repeat" else np.zeros_like(vectors[:1])
        return np.concatenate([np.repeat(first, self._length - len(vectors), axis=0), vectors])

    def _vectors(
        self,
        value: list[Any],
        place: Place,
        *,
        doubtful: bool,
        single: bool = False,
    ) -> NDArray[np.float32]:
        """Read vectors, float32 (k, dim); ``doubtful`` where the body may hold what passes for a number and is none."""
        try:
            packed = None if doubtful else b"".join([self._packed(*vector) for vector in value])
        except (struct.error, TypeError, OverflowError):
            packed = None
        if packed is None:
            problems = list(self._problems(value, place, single=single))
            if problems:
                raise unusable(*problems)
            packed = b"".join([self._packed(*map(float, vector)) for vector in value])
        return np.frombuffer(packed, "<f4").reshape(len(value), self._dim)

    def _problems(self, value: list[Any], place: Place, *, single: bool) -> Iterator[Problem]:
        n_found = 0
        for index, vector in enumerate(value):
            for wrong in self._vector_problems(vector, place if single else (*place, index)):
                yield wrong
                n_found += 1
                if n_found == MOST_PROBLEMS:
                    return

    def _vector_problems(self, vector: Any, place: Place) -> Iterator[Problem]:  # noqa: ANN401
        if not isinstance(vector, list):
            yield Problem(
                place, f"must be a list of {self._dim} numbers", "null" if vector is None else "wrong_type"
            )
            return
        if len(vector) != self._dim:
            yield Problem(place, f"holds {len(vector)} numbers, not {self._dim}", "wrong_length")
        for index, number in enumerate(vector):
            if (kind := _flaw(number)) is not None:
                yield Problem((*place, index), _MESSAGES[kind], kind)


_MESSAGES = {
    "null": "is null",
    "nan": "is not a number",
    "inf": "is beyond what float32 holds",
    "wrong_type": "must be a number",
}


def _flaw(number: Any) -> str | None:  # noqa: ANN401
    if number is None:
        return "null"
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return "wrong_type"
    if isinstance(number, float) and math.isnan(number):
        return "nan"
    return "inf" if abs(number) >= TOO_LARGE else None


def _parsed(body: bytes) -> tuple[Any, bool]:
    """Parse a body; the flag says that it may hold what Python would take for a number and is none.

    orjson refuses NaN and Infinity, which many clients write; Python's own parser tells where they stand.
    """
    try:
        return orjson.loads(body), b"true" in body or b"false" in body
    except orjson.JSONDecodeError as error:
        message = str(error)
    try:
        return json.loads(body), True
    except (ValueError, RecursionError):
        raise unusable(Problem(("body",), f"is not JSON: {ascii(message)[1:-1]}", "json_invalid")) from None


def _check_object(value: Any, keys: tuple[str, ...], place: Place) -> None:  # noqa: ANN401
    if not isinstance(value, dict):
        raise unusable(Problem(place, f"must be an object with `{keys[0]}`", "wrong_type"))
    if value.keys() <= set(keys):
        return
    unknown = [name for name in value if name not in keys]
    raise unusable(
        *(
            Problem(
                (*place, ascii(name)[1:-1][:100]), f"is not known; known are {', '.join(keys)}", "unknown"
            )
            for name in unknown[:MOST_PROBLEMS]
        )
    )


def _lane(value: Any, place: Place) -> str | None:  # noqa: ANN401
    if value is None or isinstance(value, str):
        return value
    raise unusable(Problem(place, "must be a text or null", "wrong_type"))


def _tokens(value: Any, place: Place) -> float:  # noqa: ANN401
    if value is None:
        return math.nan
    if not is_token_count(value):
        raise unusable(Problem(place, "must be a number of tokens, 0 or more, or null", "wrong_type"))
    return float(value)
