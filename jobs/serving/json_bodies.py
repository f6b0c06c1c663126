"""Queries read from JSON.

The rule: a correct body is read without a look at each number in Python; only a body that turns out wrong is searched
for every problem. Numbers are rounded to float32 as a column of float64 is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.models.named_bank import NamedBank
from lvm_batch.jobs.serving.bodies import (
    LANE,
    MOST_PROBLEMS,
    NEIGHBOUR_COUNT,
    TOKEN_COUNT,
    Problem,
    Queries,
    Query,
    check,
    unusable,
)
from lvm_batch.jobs.serving.json_vectors import BODY, CONTEXT, QuickReader, VectorReader
from lvm_batch.jobs.serving.rows import Rows, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.schema import Pad
    from lvm_batch.jobs.serving.bodies import Body, Place

_USABLE = np.ones(1, np.bool_)  # a query that cannot be used is refused


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """A query as one row, what a run would say of it, such as ``padded: 3``, and where its context stands."""

    rows: Rows
    detail: str | None
    place: Place = CONTEXT


def room_for(body: bytes, *, row_bytes: int, length: int) -> int:
    """Return the bytes that a body takes at most as Python's objects, with ``row_bytes`` for each of its rows.

    A row is an object, or a list of ``length`` lists; the numbers of a shorter one take more than it does. An empty
    list or object takes 64 bytes, and whatever a comma separates 40.
    """
    counts = np.bincount(np.frombuffer(body, np.uint8), minlength=256)
    n_open = int(counts[ord("[")] + counts[ord("{")])
    n_rows = max(int(counts[ord("{")]), int(counts[ord("[")]) // (length + 1))
    return len(body) + 64 * n_open + 40 * int(counts[ord(",")]) + row_bytes * n_rows


class QueryReader:
    """Reads queries for models of contexts of ``length`` vectors of ``dim``."""

    def __init__(
        self,
        *,
        length: int,
        dim: int,
        pad: Pad | None,
        bank: NamedBank | None = None,
        n_neighbours: int = 0,
    ) -> None:
        """A query that does not say how many neighbours it wants gets ``n_neighbours`` of the ``bank``."""
        self._length, self._dim = length, dim
        self._bank = bank or NamedBank()
        self._n_neighbours = n_neighbours
        self._pad: Pad = pad or "repeat"
        self._quick = QuickReader(dim)
        self._vectors = VectorReader(dim)

    def query(self, body: bytes) -> ReadQuery:
        """Read a body of one query, or of a context alone; in one thread at a time. Raises :class:`Refusal`."""
        found = self._quick.read(body)
        if found is not None and (len(found.vectors) >= self._length or self._pad != "reject"):
            context, detail = self._whole(found.vectors, found.place)
            return _one_row(
                context,
                detail,
                lane=found.lane,
                tokens=found.tokens,
                targets=None,
                place=found.place,
                n_neighbours=self._n_neighbours,
            )
        value, doubtful = _parsed(body)
        return self._query(value, BODY, doubtful=doubtful)

    def queries(self, body: bytes) -> tuple[Rows, list[str | None]]:
        """Read a body of ``rows``; return them together, and the detail of each. Raises :class:`Refusal`."""
        value, doubtful = _parsed(body)
        _check_object(value, Queries, BODY)
        rows = value.get("rows")
        if not isinstance(rows, list) or not rows:
            raise unusable(Problem(("body", "rows"), "must be a list of at least one query", "wrong_type"))
        read = [
            self._query(row, ("body", "rows", place), doubtful=doubtful) for place, row in enumerate(rows)
        ]
        return joined([query.rows for query in read]), [query.detail for query in read]

    def _query(self, value: Any, place: Place, *, doubtful: bool) -> ReadQuery:  # noqa: ANN401 - whatever JSON holds
        if isinstance(value, list):
            return self._bare(value, place, doubtful=doubtful)
        if not isinstance(value, dict):
            raise unusable(
                Problem(place, "must be an object with `context`, or a context alone", "wrong_type")
            )
        _check_object(value, Query, place)
        context, detail = self._context(value.get("context"), (*place, "context"), doubtful=doubtful)
        target = value.get("target")
        if target is not None:
            target = self._vectors.vector(target, (*place, "target"), doubtful=doubtful)
        lane = check(LANE, value.get("lane"), (*place, "lane"))
        tokens = check(TOKEN_COUNT, value.get("context_tokens"), (*place, "context_tokens"))
        wanted = check(NEIGHBOUR_COUNT, value.get("neighbours", self._n_neighbours), (*place, "neighbours"))
        if problem := self._bank.problem(wanted):
            raise unusable(Problem((*place, "neighbours"), problem, "neighbours"))
        return _one_row(context, detail, lane=lane, tokens=tokens, targets=target, n_neighbours=wanted)

    def _bare(self, value: list[Any], place: Place, *, doubtful: bool) -> ReadQuery:
        """Read a context alone, as the models' cards show it."""
        context, detail = self._context(value, place, doubtful=doubtful)
        wanted = self._n_neighbours
        return _one_row(
            context, detail, lane=None, tokens=None, targets=None, place=place, n_neighbours=wanted
        )

    def _context(self, value: Any, place: Place, *, doubtful: bool) -> tuple[NDArray[np.float32], str | None]:  # noqa: ANN401
        if not isinstance(value, list) or not value:
            kind = "null" if value is None else "wrong_length" if value == [] else "wrong_type"
            message = f"must be a list of {self._length} vectors of {self._dim} numbers"
            raise unusable(Problem(place, message, kind))
        n_vectors = len(value)
        if n_vectors < self._length and self._pad == "reject":
            message = f"holds {plural(n_vectors, 'vector')}, not {self._length}, but --pad is reject"
            raise unusable(Problem(place, message, "wrong_length"))
        return self._whole(self._vectors.vectors(value, place, doubtful=doubtful), place)

    def _whole(self, vectors: NDArray[np.float32], place: Place) -> tuple[NDArray[np.float32], str | None]:
        """Cut or pad vectors to a whole context. Raises :class:`Refusal` if only zeros are left."""
        kept = vectors[-self._length :]
        if not kept.any():
            raise unusable(Problem(place, "has only zeros in float32", "zero_norm"))
        if len(kept) < self._length:
            return self._padded(kept), f"padded: {len(kept)}"
        return kept, None

    def _padded(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        first = vectors[:1] if self._pad == "repeat" else np.zeros_like(vectors[:1])
        return np.concatenate([np.repeat(first, self._length - len(vectors), axis=0), vectors])


def _one_row(
    context: NDArray[np.float32],
    detail: str | None,
    *,
    lane: str | None,
    tokens: float | None,
    targets: NDArray[np.float32] | None,
    place: Place = CONTEXT,
    n_neighbours: int = 0,
) -> ReadQuery:
    n_tokens = np.array((np.nan if tokens is None else tokens,), np.float64)
    wanted = np.array((n_neighbours,)) if n_neighbours else None
    rows = Rows(context[np.newaxis], (lane,), n_tokens, targets, _USABLE, wanted)
    return ReadQuery(rows, detail, place)


def _parsed(body: bytes) -> tuple[Any, bool]:
    """Parse a body; the flag says that it may hold booleans, which Python takes for numbers.

    orjson refuses NaN and Infinity, which many clients write; Python's own parser tells where they are.
    """
    try:
        return orjson.loads(body), _has_booleans(body)
    except orjson.JSONDecodeError as error:
        message = str(error)
    try:
        return json.loads(body), True
    except (ValueError, RecursionError):
        raise unusable(Problem(BODY, f"is not JSON: {ascii(message)[1:-1]}", "json_invalid")) from None


def _has_booleans(body: bytes) -> bool:
    """Tell whether a body may hold a boolean: a search for one letter takes 1 us of 47 kB, one for a word 35."""
    return (b"u" in body and b"true" in body) or (b"f" in body and b"false" in body)


def _check_object(value: Any, kind: type[Body], place: Place) -> None:  # noqa: ANN401
    """Raise :class:`Refusal` if a value is no object, or has other keys than ``kind``."""
    keys = kind.model_fields
    if not isinstance(value, dict):
        raise unusable(Problem(place, f"must be an object with `{next(iter(keys))}`", "wrong_type"))
    if value.keys() <= keys.keys():
        return
    unknown = [name for name in value if name not in keys]
    message = f"is unknown; known keys are {', '.join(keys)}"
    raise unusable(
        *(Problem((*place, ascii(name)[1:-1][:100]), message, "unknown") for name in unknown[:MOST_PROBLEMS])
    )
