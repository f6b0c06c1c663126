"""Queries read from JSON, and answers written as JSON.

The rule: a correct body is read without a look at each number in Python; only a body that turns out wrong is searched
for every problem. Numbers are rounded to float32 as a column of float64 is; a value that a run leaves null is null.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from lvm_batch.io.schema import NEIGHBOUR_COLUMNS, ROUTES
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
from lvm_batch.lvm.inference.routing import ALL_REASONS
from lvm_batch.lvm.search.neighbours import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.schema import Pad
    from lvm_batch.jobs.serving.bodies import Body, Place, Refusal
    from lvm_batch.jobs.serving.rows import Answers

_USABLE = np.ones(1, np.bool_)  # a query that cannot be used is refused
_AS_ARRAYS = orjson.OPT_SERIALIZE_NUMPY  # which also writes NaN as null


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """A query as one row, what a run would say of it, such as ``padded: 3``, and where its context stands."""

    rows: Rows
    detail: str | None
    place: Place = CONTEXT


def room_for(body: bytes, *, row_bytes: int) -> int:
    """Return the bytes that a body takes at most as Python's objects, with ``row_bytes`` for each of its rows.

    An empty list or object takes 64 bytes, and whatever a comma separates 40.
    """
    counts = np.bincount(np.frombuffer(body, np.uint8), minlength=256)
    n_open = int(counts[ord("[")] + counts[ord("{")])
    return len(body) + 64 * n_open + 40 * int(counts[ord(",")]) + row_bytes * int(counts[ord("{")])


class QueryReader:
    """Reads queries for models of contexts of ``length`` vectors of ``dim``."""

    def __init__(self, *, length: int, dim: int, pad: Pad | None, bank: NamedBank | None = None) -> None:
        self._length, self._dim = length, dim
        self._bank = bank or NamedBank()
        self._pad: Pad = pad or "repeat"
        self._quick = QuickReader(dim)
        self._vectors = VectorReader(dim)

    def query(self, body: bytes) -> ReadQuery:
        """Read a body of one query, or of a context alone; in one thread at a time. Raises :class:`Refusal`."""
        found = self._quick.read(body)
        if found is not None and (len(found.vectors) >= self._length or self._pad != "reject"):
            context, detail = self._whole(found.vectors, found.place)
            return _one_row(
                context, detail, lane=found.lane, tokens=found.tokens, targets=None, place=found.place
            )
        value, doubtful = _parsed(body)
        if isinstance(value, list):
            context, detail = self._context(value, BODY, doubtful=doubtful)
            return _one_row(context, detail, lane=None, tokens=None, targets=None, place=BODY)
        if not isinstance(value, dict):
            raise unusable(
                Problem(BODY, "must be an object with `context`, or a context alone", "wrong_type")
            )
        return self._query(value, BODY, doubtful=doubtful)

    def queries(self, body: bytes) -> tuple[Rows, list[str | None]]:
        """Read a body of ``rows``; return them together, and the detail of each. Raises :class:`Refusal`."""
        value, doubtful = _parsed(body)
        _check_object(value, Queries, BODY)
        rows = value.get("rows")
        if not isinstance(rows, list) or not rows:
            raise unusable(Problem(("body", "rows"), "must be a list of one query or more", "wrong_type"))
        read = [
            self._query(row, ("body", "rows", place), doubtful=doubtful) for place, row in enumerate(rows)
        ]
        return joined([query.rows for query in read]), [query.detail for query in read]

    def _query(self, value: Any, place: Place, *, doubtful: bool) -> ReadQuery:  # noqa: ANN401 - whatever JSON holds
        _check_object(value, Query, place)
        context, detail = self._context(value.get("context"), (*place, "context"), doubtful=doubtful)
        target = value.get("target")
        if target is not None:
            target = self._vectors.vector(target, (*place, "target"), doubtful=doubtful)
        lane = check(LANE, value.get("lane"), (*place, "lane"))
        tokens = check(TOKEN_COUNT, value.get("context_tokens"), (*place, "context_tokens"))
        wanted = check(NEIGHBOUR_COUNT, value.get("neighbours", 0), (*place, "neighbours"))
        if problem := self._bank.problem(wanted):
            raise unusable(Problem((*place, "neighbours"), problem, "neighbours"))
        return _one_row(context, detail, lane=lane, tokens=tokens, targets=target, n_neighbours=wanted)

    def _context(self, value: Any, place: Place, *, doubtful: bool) -> tuple[NDArray[np.float32], str | None]:  # noqa: ANN401
        if not isinstance(value, list) or not value:
            kind = "null" if value is None else "wrong_length" if value == [] else "wrong_type"
            message = f"must be a list of {self._length} vectors of {self._dim} numbers"
            raise unusable(Problem(place, message, kind))
        n_vectors = len(value)
        if n_vectors < self._length and self._pad == "reject":
            message = f"holds {plural(n_vectors, 'vector')}, not {self._length}, and --pad is reject"
            raise unusable(Problem(place, message, "wrong_length"))
        return self._whole(self._vectors.vectors(value, place, doubtful=doubtful), place)

    def _whole(self, vectors: NDArray[np.float32], place: Place) -> tuple[NDArray[np.float32], str | None]:
        """Cut or pad vectors to a whole context. Raises :class:`Refusal` if only zeros are left."""
        kept = vectors[-self._length :]
        if not kept.any():
            raise unusable(Problem(place, "holds nothing but zeros, as float32 has it", "zero_norm"))
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
    message = f"is not known; known are {', '.join(keys)}"
    raise unusable(
        *(Problem((*place, ascii(name)[1:-1][:100]), message, "unknown") for name in unknown[:MOST_PROBLEMS])
    )


class AnswerWriter:
    """Writes answers; ``models`` is what the model behind each of ``ROUTES`` is called, ``bank`` names neighbours."""

    def __init__(self, models: Sequence[str | None], bank: NamedBank | None = None) -> None:
        self._models = models
        self._bank = bank or NamedBank()

    def answer(self, answers: Answers, detail: str | None, place: Place = CONTEXT) -> bytes:
        """Write the answer to the query at ``place``. Raises :class:`Refusal` if float32 could not hold it."""
        if not answers.answered[0]:
            raise _overflow(place)
        return orjson.dumps(self._values(answers, 0, detail), option=_AS_ARRAYS)

    def answers(self, answers: Sequence[Answers], details: Sequence[str | None]) -> bytes:
        """Write the answers to a body of several queries, in their order. Raises :class:`Refusal`."""
        overflown = np.flatnonzero(~np.concatenate([part.answered for part in answers]))
        if len(overflown):
            raise _overflow(("body", "rows", int(overflown[0]), "context"))
        places = ((part, row) for part in answers for row in range(len(part.answered)))
        values = [
            self._values(part, row, detail) for (part, row), detail in zip(places, details, strict=True)
        ]
        return orjson.dumps({"answers": values}, option=_AS_ARRAYS)

    def _values(self, answers: Answers, row: int, detail: str | None) -> dict[str, Any]:
        """Return what :class:`bodies.Answer` holds, with arrays in place of lists."""
        escalated = bool(answers.escalated[row])
        return {
            "prediction": answers.prediction[row],
            "route": ROUTES[escalated],
            "reasons": [ALL_REASONS[number] for number in answers.reasons[row].nonzero()[0].tolist()],
            "confidence": answers.confidence[row],
            "margin": answers.margin[row],
            "cosine": answers.gru_cosine[row] if escalated else answers.amn_cosine[row],
            "model": self._models[escalated],
            "status_detail": detail,
            **self._neighbours(answers, row),
        }

    def _neighbours(self, answers: Answers, row: int) -> dict[str, Any]:
        """Return the neighbours of a row that wants some."""
        found, wanted = answers.neighbours, answers.n_neighbours
        if found is None or wanted is None or not wanted[row]:
            return {}
        known = found.places[row] != NOWHERE
        values = self._bank.names(found.places[row][known]), found.cosines[row][known]
        return dict(zip(NEIGHBOUR_COLUMNS, values, strict=True))


def _overflow(place: Place) -> Refusal:
    return unusable(Problem(place, "is so large that float32 cannot hold its answer", "inf"))
