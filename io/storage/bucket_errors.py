"""Errors of a bucket, in words that may be shown.

The rule: whatever the client raises, which quotes requests and answers at length, becomes an ``OSError`` of one line
without credentials, and a ``ConnectionError`` if the same request may succeed later.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from obstore import exceptions

from lvm_batch.io.storage.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")

TRIES = 3
"""How often a request is made whose answer is cut; the client itself retries the others."""

_STATUS = re.compile(r"status code: (\d{3}) ?([\w ]*)")
_AWAY = ("408", "429")  # and 5xx
_CODE = re.compile(r"<Code>(\w+)</Code>")
_NO_ANSWER = re.compile(r"(https?://\S+?)(?:/\S*)? in .* - HTTP error: (.*)")
_CUT = "response body error"


class AnswerCut(ConnectionError):
    """A connection ended within the store's answer; the client does not retry this."""


def retried(method: Callable[P, R]) -> Callable[P, R]:
    """Retry a method whose answer was cut; the method must be one that may be called twice."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(TRIES - 1):
            try:
                return method(*args, **kwargs)
            except AnswerCut:
                continue
        return method(*args, **kwargs)

    return call


@contextmanager
def as_os_errors(*passed: type[Exception]) -> Iterator[None]:
    """Turn what the client raises into an ``OSError``, except exceptions of the types ``passed``."""
    try:
        yield
    except passed:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(_reason(error)) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(_reason(error)) from None
    except exceptions.PreconditionError:
        raise OSError("it has changed while it was read") from None
    except (exceptions.BaseError, OSError, ValueError) as error:
        raise _kind(error)(_reason(error)) from None


def _kind(error: Exception) -> type[OSError]:
    """Return ``ConnectionError`` for a store that cannot be reached now, ``OSError`` for one that refuses."""
    text = str(error)
    if _CUT in text:
        return AnswerCut
    status = _STATUS.search(text)
    is_away = status[1] in _AWAY or status[1].startswith("5") if status else _NO_ANSWER.search(text)
    return ConnectionError if is_away else OSError


def _reason(error: Exception) -> str:
    text = str(error)
    if status := _STATUS.search(text):
        code = _CODE.search(text)
        return f"the store answers {status[1]} {code[1] if code else status[2]}".rstrip()
    if silence := _NO_ANSWER.search(text):
        return redact(f"no answer from {silence[1]}: {silence[2]}")
    if isinstance(error, exceptions.UnauthenticatedError):
        return "there are no valid credentials"
    return redact(text.partition("\n")[0])
