"""What a request is refused with: a status, and what is wrong where.

The rule: a body that is refused is told every place that is wrong, up to a few, in the form that FastAPI's users know:
``{"detail": [{"loc": ["body", "context", 2, 17], "msg": …, "type": …}]}``. Does not know what makes a body wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a body: where, what, and a stable code of it."""

    place: tuple[str | int, ...]
    message: str
    kind: str

    @property
    def as_dict(self) -> dict[str, object]:
        """The problem as plain values."""
        return {"loc": list(self.place), "msg": self.message, "type": self.kind}


class Refusal(Exception):
    """A request that is not answered: the status of its response, what is wrong, and headers to send along."""

    def __init__(
        self, status: int, problems: Sequence[Problem], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, problems, headers)
        self.status = status
        self.headers = headers or {}
        self.detail = [problem.as_dict for problem in problems[:MOST_PROBLEMS]]


def too_large(what: str, max_bytes: int) -> Refusal:
    """Something of more than ``max_bytes``: a body, what it unpacks to, or its answer."""
    message = f"{what} is larger than {max_bytes:,} bytes; send fewer rows, or vectors, at a time"
    return Refusal(413, [Problem(("body",), message, "too_large")])


def too_slow(limit_s: float) -> Refusal:
    """A body that has not come within ``limit_s``."""
    message = f"the body has not come within {limit_s:g} s"
    return Refusal(408, [Problem(("body",), message, "too_slow")], {"connection": "close"})


def too_many(max_queue: int) -> Refusal:
    """More requests than are taken at a time."""
    message = f"{max_queue:,} requests are under way; come again"
    return Refusal(429, [Problem((), message, "too_many")], {"retry-after": "1"})


def too_full(max_bytes: int) -> Refusal:
    """A body that comes while those of other requests take all that they may."""
    message = f"requests hold {max_bytes:,} bytes, which is all they may; come again"
    return Refusal(503, [Problem((), message, "too_full")], {"retry-after": "1", "connection": "close"})


def wrong_type(found: str, taken: Sequence[str]) -> Refusal:
    """A body of a type that is not read here."""
    message = f"content-type is {found[:100]!a}; it can be {' or '.join(taken)}"
    return Refusal(415, [Problem(("header", "content-type"), message, "content_type")])


def unusable(*problems: Problem) -> Refusal:
    """A body that was read and cannot be answered."""
    return Refusal(422, problems)
