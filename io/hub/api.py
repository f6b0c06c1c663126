"""Questions to the Hugging Face Hub's own API.

The rule: the token, HF_TOKEN, goes to the hub (HF_ENDPOINT) alone, never to where it redirects, and stands in no
message. Answers of 5xx, 429 and cut connections are asked for again.
"""

from __future__ import annotations

import json
import os
import re
import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIMEOUT_S = 30.0
_PAUSES_S = (0.5, 2.0, 8.0)
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
_AWAY = {408, 429, 500, 502, 503, 504}

_TERMS = "accept its terms on its page, and set HF_TOKEN to a token of that account"
_REFUSALS = {
    "GatedRepo": ("the dataset is gated, and this token has no access", _TERMS),
    "RevisionNotFound": ("there is no such revision", "name a branch, a tag or a commit of the dataset"),
    "EntryNotFound": ("there is no such file or folder", "check the path"),
    "RepoNotFound": (
        "there is no such dataset, or it is private and this token has no access",
        "check the name; for a private one set HF_TOKEN",
    ),
}
_BY_STATUS = {
    401: ("the hub wants a token that may read it (401)", "set HF_TOKEN; for a gated dataset, " + _TERMS),
    403: ("this token may not read it (403)", _TERMS),
    404: ("there is no such dataset or path (404)", "check the address; for a private dataset set HF_TOKEN"),
}


class HubRefusal(PermissionError):
    """The hub answers that something is not there or may not be read; ``hint`` says what to do."""

    def __init__(self, status: int, code: str) -> None:
        text, self.hint = _REFUSALS.get(code) or _BY_STATUS.get(status) or (f"the hub answers {status}", "")
        self.is_missing = status == 404 or code == "EntryNotFound"  # noqa: PLR2004 - HTTP's
        super().__init__(text)


def endpoint() -> str:
    """Return the hub's address."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def headers() -> dict[str, str]:
    """Return what identifies the caller to the hub."""
    token = os.environ.get("HF_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def ask(path: str) -> tuple[Any, str | None]:
    """Return the JSON at a path of the hub, or a whole URL of its, and the URL of the next page.

    Raises :class:`HubRefusal` if the hub refuses, ``ConnectionError`` if it does not answer.
    """
    url = path if path.startswith(f"{endpoint()}/") else f"{endpoint()}/{path}"
    for pause in _PAUSES_S:
        try:
            return _ask_once(url)
        except ConnectionError:
            time.sleep(pause)
    return _ask_once(url)


def pages(path: str) -> Iterator[Any]:
    """Yield the JSON of all pages of a listing; one on another machine than the hub's is refused."""
    following: str | None = path
    while following:
        answer, following = ask(following)
        if following and not following.startswith(f"{endpoint()}/"):
            raise ConnectionError("the hub names a next page on another machine")
        yield answer


def _ask_once(url: str) -> tuple[Any, str | None]:
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - the scheme is the user's own
    for name, value in headers().items():
        request.add_unredirected_header(name, value)
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            return json.load(answer), _next_page(answer.headers)
    except HTTPError as error:
        with error:
            if error.code in _AWAY:
                raise ConnectionError(f"the hub answers {error.code}") from None
            raise HubRefusal(error.code, error.headers.get("X-Error-Code", "")) from None
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise ConnectionError(f"no answer from {endpoint()}: {reason}") from None
    except ValueError:
        raise ConnectionError(f"{endpoint()} answers something else than JSON") from None


def _next_page(found: Mapping[str, str]) -> str | None:
    following = _NEXT.search(found.get("Link") or "")
    return following[1] if following else None
