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
class Wrong:
    """One thing that is wrong with a body: where, what, and a stable code of it."""

    place: tuple[str | int, ...]
    message: str
    kind: str

    @property
    def as_dict(self) -> dict[str, object]:
        """The problem as plain values."""
        return {"loc": list(self.place), "msg": self.message, "type": self.kind}


class Refused(Exception):
    """A request that is not answered: the status of its response, what is wrong, and headers to send along."""

    def __init__(
        self, status: int, problems: Sequence[Wrong], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, problems, headers)
        self.status = status
        self.headers = headers or {}
        self.detail = [problem.as_dict for problem in problems[:MOST_PROBLEMS]]


def too_large(what: str, max_bytes: int) -> Refused:
    """Something of more than ``max_bytes``: a body, what it unpacks to, or its answer."""
    message = f"{what} is larger than {max_bytes:,} bytes; send fewer rows, or vectors, at a time"
    return Refused(413, [Wrong(("body",), message, "too_large")])


def too_slow(limit_s: float) -> Refused:
    """A body that has not come within ``limit_s``."""
    message = f"the body has not come within {limit_s:g} s"
    return Refused(408, [Wrong(("body",), message, "too_slow")], {"connection": "close"})


def too_many(max_queue: int) -> Refused:
    """More requests than are taken at a time."""
    message = f"{max_queue:,} requests are under way; come again"
    return Refused(429, [Wrong((), message, "too_many")], {"retry-after": "1"})


def too_full(max_bytes: int) -> Refused:
    """A body that comes while those of other requests take all that they may."""
    message = f"requests hold {max_bytes:,} bytes, which is all they may; come again"
    return Refused(503, [Wrong((), message, "too_full")], {"retry-after": "1", "connection": "close"})


def wrong_type(found: str, taken: Sequence[str]) -> Refused:
    """A body of a type that is not read here."""
    message = f"content-type is {found[:100]!a}; it can be {' or '.join(taken)}"
    return Refused(415, [Wrong(("header", "content-type"), message, "content_type")])


def unusable(*problems: Wrong) -> Refused:
    """A body that was read and cannot be answered."""
    return Refused(422, problems)
