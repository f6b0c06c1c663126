"""Vectors of float32 in JSON: read fast where nothing is in doubt, and number by number where something is wrong.

The rule: the fast ways accept nothing that the definition of a number refuses. With simdjson, if it is installed, a
query is read without a Python object for each number: 3,840 numbers in 45 us, 100 with orjson and ``struct``.
"""

from __future__ import annotations

import struct
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lvm_batch.jobs.serving.bodies import (
    LANE,
    MOST_PROBLEMS,
    NUMBER,
    TOKEN_COUNT,
    Problem,
    Refusal,
    check,
    find_problems,
    unusable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.jobs.serving.bodies import Place

BODY: Place = ("body",)
CONTEXT: Place = (*BODY, "context")
"""The places of a query's body, and of its context unless the body is a context alone."""

_QUICK_KEYS = frozenset(("context", "lane", "context_tokens"))
_BEYOND_DOUBT = 1e38  # a square; no number of it is near the end of float32


class QuickQuery(NamedTuple):
    """``vectors`` is float32 (k, dim), finite, at ``place`` in the body; ``lane`` and ``tokens`` are checked."""

    vectors: NDArray[np.float32]
    lane: str | None
    tokens: float | None
    place: Place = CONTEXT


class QuickReader:
    """Reads queries of vectors of ``dim`` numbers without a target; in one thread at a time."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._parser = _new_parser()

    def read(self, body: bytes) -> QuickQuery | None:
        """Read a body; return ``None`` if anything in it is in doubt, or simdjson is not installed."""
        if self._parser is None:
            return None
        try:
            return self._query(self._parser.parse(body), n_lists=_n_lists(body))
        except (ValueError, TypeError, KeyError, AttributeError, Refusal):
            return None
        except RuntimeError:  # an earlier body's document is still held somewhere
            self._parser = _new_parser()
            return None

    def _query(self, value: Any, *, n_lists: int) -> QuickQuery | None:  # noqa: ANN401 - simdjson has no types
        if not hasattr(value, "keys"):  # a list: the context alone
            vectors = self._vectors(value, n_lists)
            return None if vectors is None else QuickQuery(vectors, None, None, BODY)
        keys = list(value.keys())
        if set(keys) - _QUICK_KEYS or len(set(keys)) != len(keys):
            return None
        lane, tokens = (
            check(LANE, value.get("lane"), ()),
            check(TOKEN_COUNT, value.get("context_tokens"), ()),
        )
        vectors = self._vectors(value["context"], n_lists)
        return None if vectors is None else QuickQuery(vectors, lane, tokens)

    def _vectors(self, context: Any, n_lists: int) -> NDArray[np.float32] | None:  # noqa: ANN401
        """Read vectors; with one list for each and one around them, a vector can hold nothing but numbers."""
        n_vectors = len(context)
        if not n_vectors or n_lists != 1 + n_vectors or any(len(vector) != self._dim for vector in context):
            return None
        numbers = np.frombuffer(context.as_buffer(of_type="d"), np.float64)
        with np.errstate(over="ignore"):
            vectors = numbers.astype(np.float32).reshape(n_vectors, self._dim)
        return vectors if float(numbers @ numbers) < _BEYOND_DOUBT else None


def _new_parser() -> Any:  # noqa: ANN401 - simdjson has no types
    """Return a parser of simdjson, or ``None`` without it: it has no wheels for the newest Pythons."""
    try:
        import simdjson
    except ImportError:
        return None
    return simdjson.Parser()


def _n_lists(body: bytes) -> int:
    """Count opening brackets; ``bytes.count`` takes three times as long."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord("[")))


class VectorReader:
    """Makes arrays of lists of ``dim`` numbers."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._packed = struct.Struct(f"<{dim}f").pack  # with < it refuses what float32 cannot hold

    def vector(self, value: object, place: Place, *, doubtful: bool) -> NDArray[np.float32]:
        """Read one vector, float32 (1, dim). Raises :class:`Refusal`."""
        return self._array([value], (place,), doubtful=doubtful)

    def vectors(self, value: list[Any], place: Place, *, doubtful: bool) -> NDArray[np.float32]:
        """Read vectors, float32 (k, dim); ``doubtful`` if the body may hold booleans, which Python takes for numbers.

        Raises :class:`Refusal`.
        """
        return self._array(value, [(*place, index) for index in range(len(value))], doubtful=doubtful)

    def _array(self, value: list[Any], places: Sequence[Place], *, doubtful: bool) -> NDArray[np.float32]:
        try:
            packed = None if doubtful else b"".join([self._packed(*vector) for vector in value])
        except (struct.error, TypeError, OverflowError):
            packed = None
        if packed is None:
            self._check(value, places)
            packed = b"".join([self._packed(*map(float, vector)) for vector in value])
        return np.frombuffer(packed, "<f4").reshape(len(value), self._dim)

    def _check(self, value: list[Any], places: Sequence[Place]) -> None:
        """Raise :class:`Refusal` with the first problems of vectors."""
        found = chain.from_iterable(map(self._problems, value, places))
        if problems := list(islice(found, MOST_PROBLEMS)):
            raise unusable(*problems)

    def _problems(self, vector: Any, place: Place) -> Iterator[Problem]:  # noqa: ANN401
        if not isinstance(vector, list):
            kind = "null" if vector is None else "wrong_type"
            yield Problem(place, f"must be a list of {self._dim} numbers", kind)
            return
        if len(vector) != self._dim:
            yield Problem(place, f"holds {len(vector)} numbers, not {self._dim}", "wrong_length")
        yield from find_problems(NUMBER, vector, place)
