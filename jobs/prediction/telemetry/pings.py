"""Pings a health check when a run begins, succeeds or fails.

The rule: a ping changes nothing about a run, neither how it ends nor, but for some seconds, when; pings that do not
arrive are one note. The address is shown to nobody, since whoever has it can ping.

The protocol is that of healthchecks.io, hosted or one's own (https://healthchecks.io/docs/http_api/): ``URL/start``,
``URL``, ``URL/fail`` and ``URL/log``, each with ``rid``, which is the same for the pings of one run. A run that finds
another at work, or its scheduler away, has not failed: that is a log. Nor has it started: a check waits for the end of
the last start, and would forget that of the other run, so a start is sent once the output is held.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit, urlunsplit
from uuid import uuid4

from lvm_batch.jobs.console.exit_codes import error_as_dict, exit_code_of
from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.prediction.observers import RunObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from urllib.request import Request

    from pydantic import SecretStr

    from lvm_batch.jobs.prediction.observers import RunBeginning, RunOutcome

TRIES = 2
TIMEOUT_S = 5.0
"""For each try, whatever takes the time: looking up the name, connecting, or the answer."""

_PAUSE_S = 0.5
_SERVER_ERROR = 500


class Pings(RunObserver):
    """Sends the pings of one run to ``url``; ``tell`` gets one note if they do not arrive."""

    def __init__(self, url: SecretStr, *, tell: Callable[[str], object]) -> None:
        self._url = url
        self._run_id = uuid4()
        self._tell = tell
        self._told = False
        self._body: dict[str, Any] = {"version": version("lvm-batch")}

    def begin(self, run: RunBeginning) -> None:
        """Ping that the output is held and work begins."""
        self._body |= {"job_id": run.plan.job.job_id, "rows": run.plan.n_rows}
        self._ping("start", {})

    def conclude(self, outcome: RunOutcome) -> None:
        """Ping how a run ended that came to its end."""
        summary = outcome.summary
        self._body |= {
            "job_id": summary.job_id,
            "rows": summary.totals.rows_out,
            "routes": summary.totals.rows_by_route,
            "failed_units": len(summary.failed_units) + len(summary.unreadable_files),
            "seconds": summary.wall_s,
        }
        if outcome.error:
            self.fail(outcome.error)
        else:
            self._ping(None, {"exit_code": 0})

    def fail(self, error: BaseException) -> None:
        """Ping the error that interrupted a run or prevents its success."""
        code = exit_code_of(error)
        event = "log" if code == TryAgain.exit_code else "fail"
        self._ping(event, {"exit_code": code, "error": error_as_dict(error)})

    def _ping(self, event: str | None, ending: Mapping[str, Any]) -> None:
        body = json.dumps({**self._body, **ending}).encode()
        why_not = _sent(_address(self._url.get_secret_value(), event, self._run_id), body)
        if why_not and not self._told:
            self._tell(f"the ping {event or 'success'} was not delivered: {why_not}")
            self._told = True


def _address(url: str, event: str | None, run_id: object) -> str:
    """A check's address may have a query of its own, such as ``create=1``."""
    parts = urlsplit(url)
    path = "/".join([parts.path.rstrip("/"), *([event] if event else [])])
    query = "&".join([*([parts.query] if parts.query else []), urlencode({"rid": str(run_id)})])
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def _sent(url: str, body: bytes) -> str | None:
    """Post ``body``; return why that did not work, or ``None``.

    Neither looking up a name nor an answer that comes in drops ends by urllib's own timeout, so a thread is waited for.
    """
    from urllib.request import Request

    headers = {"Content-Type": "application/json", "User-Agent": f"lvm-batch/{version('lvm-batch')}"}
    request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - http or https
    problem: str | None = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(_PAUSE_S)
        problem, again = _try_within(request, TIMEOUT_S)
        if not again:
            break
    return problem


def _try_within(request: Request, timeout_s: float) -> tuple[str | None, bool]:
    answers: list[tuple[str | None, bool]] = []
    thread = Thread(target=lambda: answers.append(_try(request, timeout_s)), name="ping", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answers[0] if answers else (f"no answer within {timeout_s:g} s", True)


def _try(request: Request, timeout_s: float) -> tuple[str | None, bool]:
    """Return why it failed, without the server's words, and whether to try again."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        with urlopen(request, timeout=timeout_s):  # noqa: S310 - http or https
            return None, False
    except HTTPError as error:
        error.close()
        return f"the server answered {error.code}", error.code >= _SERVER_ERROR
    except TimeoutError:
        return f"no answer within {timeout_s:g} s", True
    except URLError as error:
        reason = error.reason
        return (reason.strerror if isinstance(reason, OSError) else None) or "it cannot be reached", True
    except (OSError, HTTPException, ValueError) as error:
        return f"the connection broke ({type(error).__name__})", True
