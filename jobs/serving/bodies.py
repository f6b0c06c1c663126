"""What a request, an answer and a refusal hold as JSON: one definition, by which they are checked and documented.

The rule: a value's type, the check of it and what is said where it fails stand together, so that OpenAPI says what is
accepted. A refusal lists every problem, up to a few, in the form that FastAPI's users know:
``{"detail": [{"loc": ["body", "context", 2, 17], "msg": …, "type": …}]}``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticCustomError

from lvm_batch.io.schema import ROUTES
from lvm_batch.jobs.settings.run import MOST_NEIGHBOURS
from lvm_batch.lvm.inference.routing import ALL_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Place = tuple[str | int, ...]
Value = TypeVar("Value")

MOST_PROBLEMS = 10

TOO_LARGE = 2.0**128 - 2.0**103
"""The least number that float32 rounds to infinity."""

MOST_TOKENS = 2**53
"""The largest count of tokens: beyond it float64 has no odd numbers."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request: where, what, and a stable code for it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    loc: Place
    msg: str
    type: str


class Body(BaseModel):
    """A JSON object without other keys than its own."""

    model_config = ConfigDict(extra="forbid")


class RefusalBody(Body):
    """What a refused request is answered with."""

    detail: list[Problem]


class Refusal(Exception):
    """A request that is not answered: the status of its response, what is wrong, and headers to send along."""

    def __init__(
        self, status: int, problems: Sequence[Problem], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, problems, headers)
        self.status = status
        self.headers = headers or {}
        self.detail = list(problems[:MOST_PROBLEMS])


def _number(value: object) -> float:
    """Return a number that float32 holds."""
    if value is None:
        raise PydanticCustomError("null", "is null")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PydanticCustomError("wrong_type", "must be a number")
    if abs(value) >= TOO_LARGE or abs(float(value)) >= TOO_LARGE:  # an integer may round up to it
        raise PydanticCustomError("inf", "is too large for float32")
    if math.isnan(value):
        raise PydanticCustomError("nan", "is not a number")
    return float(value)


def _lane(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise PydanticCustomError("wrong_type", "must be a string or null")


def _token_count(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
        return float(value)
    raise PydanticCustomError("wrong_type", "must be a number of tokens, 0 or more, or null")


Number = Annotated[
    float,
    PlainValidator(_number, json_schema_input_type=Annotated[float, Field(gt=-TOO_LARGE, lt=TOO_LARGE)]),
]
Lane = Annotated[str | None, PlainValidator(_lane, json_schema_input_type=str | None)]
TokenCount = Annotated[
    float | None,
    PlainValidator(_token_count, json_schema_input_type=Annotated[float, Field(ge=0, le=MOST_TOKENS)] | None),
]

NeighbourCount = Annotated[int, Field(strict=True, ge=0, le=MOST_NEIGHBOURS)]

NUMBER: TypeAdapter[float] = TypeAdapter(Number)
LANE: TypeAdapter[str | None] = TypeAdapter(Lane)
TOKEN_COUNT: TypeAdapter[float | None] = TypeAdapter(TokenCount)
NEIGHBOUR_COUNT: TypeAdapter[int] = TypeAdapter(NeighbourCount)


def check(kind: TypeAdapter[Value], value: object, place: Place) -> Value:
    """Return a value of a body as its type has it. Raises :class:`Refusal`."""
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise unusable(*_problems(error, place)) from None


def find_problems(kind: TypeAdapter[Any], values: Sequence[object], place: Place) -> Iterator[Problem]:
    """Yield what is wrong with values of a list that each have a type; as many are checked as are asked for."""
    validate = kind.validator.validate_python
    for index, value in enumerate(values):
        try:
            validate(value)
        except ValidationError as error:
            yield from _problems(error, (*place, index))


def _problems(error: ValidationError, place: Place) -> list[Problem]:
    return [
        Problem((*place, *found["loc"]), found["msg"], found["type"])
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]


class Query(Body):
    """One context, and what is known of it."""

    context: list[list[Number]]
    lane: Lane = None
    context_tokens: TokenCount = Field(default=None, description="Number of tokens in the whole context.")
    target: list[Number] | None = Field(default=None, description="The true next vector, if it is known.")
    neighbours: NeighbourCount = Field(
        default=0,
        description="How many nearest vectors of the bank to include in the answer; --neighbours is the default.",
    )


class Queries(Body):
    """Several queries."""

    rows: list[Query | list[list[Number]]]


class Answer(Body):
    """The prediction for one query; a number that is not known is null."""

    prediction: list[float]
    route: Annotated[str, Field(json_schema_extra={"enum": list(ROUTES)})] = Field(
        description="The model that made the prediction."
    )
    reasons: list[Annotated[str, Field(json_schema_extra={"enum": list(ALL_REASONS)})]] = Field(
        description="Reasons to escalate it."
    )
    confidence: float | None = Field(
        description="Cosine with the nearest vector of the bank; null without one."
    )
    margin: float | None = Field(description="Confidence minus the second-highest cosine.")
    cosine: float | None = Field(description="Cosine with the target; null without one.")
    model: str = Field(description="Architecture, and the beginning of the file's SHA-256.")
    status_detail: str | None = Field(description="Such as `padded: 3`.")
    neighbour_ids: list[str | int | float | dict[str, Any] | None] | None = Field(
        default=None, description="Ids of the nearest vectors, if `neighbours` asks for them, nearest first."
    )
    neighbour_cosines: list[float] | None = Field(default=None, description="Their cosines.")


class Answers(Body):
    """The answers to several queries, in their order."""

    answers: list[Answer]


class SizedBodies(NamedTuple):
    """The bodies of models of one size: the same types, with the lengths of their vectors."""

    query: Any  # or a context alone
    queries: type[Queries]
    answer: type[Answer]
    answers: type[Answers]


def size_bodies(*, length: int, dim: int) -> SizedBodies:
    """Return the bodies for models of contexts of ``length`` vectors of ``dim``."""
    size = Field(min_length=dim, max_length=dim)
    about = f"{length} vectors, oldest first; of more the last {length} count, fewer are padded."
    vector: Any = Annotated[list[Number], size]
    context: Any = (list[vector], Field(min_length=1, description=about))
    target: Any = (vector | None, Query.model_fields["target"])
    query: Any = create_model("Query", __base__=Query, context=context, target=target)
    rows: Any = (list[query | Annotated[context]], Field(min_length=1))
    answer: Any = create_model("Answer", __base__=Answer, prediction=(Annotated[list[float], size], ...))
    several: Any = (list[answer], ...)
    return SizedBodies(
        query | Annotated[context],
        create_model("Queries", __base__=Queries, rows=rows),
        answer,
        create_model("Answers", __base__=Answers, answers=several),
    )


def too_large(what: str, max_bytes: int) -> Refusal:
    """Refuse something of more than ``max_bytes``: a body, what it unpacks to, or its answer."""
    message = f"{what} is larger than {max_bytes:,} bytes; send fewer rows, or vectors, at a time"
    return Refusal(413, [Problem(("body",), message, "too_large")])


def too_slow(limit_s: float) -> Refusal:
    """Refuse a body that has not come within ``limit_s``."""
    message = f"the body did not arrive within {limit_s:g} s"
    return Refusal(408, [Problem(("body",), message, "too_slow")], {"connection": "close"})


def too_many(max_queue: int) -> Refusal:
    """Refuse a request beyond the ``max_queue`` that are taken at a time."""
    message = f"{max_queue:,} requests are in progress; try again later"
    return Refusal(429, [Problem((), message, "too_many")], {"retry-after": "1"})


def too_full(max_bytes: int) -> Refusal:
    """Refuse a body that comes while other requests take all the memory that they may."""
    message = f"requests hold {max_bytes:,} bytes, the limit; try again later"
    return Refusal(503, [Problem((), message, "too_full")], {"retry-after": "1", "connection": "close"})


def wrong_type(found: str, taken: Sequence[str]) -> Refusal:
    """Refuse a body of a type that is not read here."""
    message = f"content-type is {found[:100]!a}; it can be {' or '.join(taken)}"
    return Refusal(415, [Problem(("header", "content-type"), message, "content_type")])


def unusable(*problems: Problem) -> Refusal:
    """Refuse a body that was read and cannot be answered."""
    return Refusal(422, problems)
