"""Connections: how many bytes one may send before they belong to a request, and how long it may take.

The rule: what a connection holds is bounded before a body is read. Heads, chunk extensions and trailers are limited in
bytes, heads and answers in time, requests sent ahead of their answers in number, and so are connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

MAX_HEAD = 2**15
"""Bytes that may arrive in a row without a byte of a body among them."""

MAX_HEADERS = 128
MAX_AHEAD = 16
"""Requests that wait for the answer of one before them on the same connection."""

MAX_CONNECTIONS = 800  # of the 1,024 files that a process may usually have open
HEAD_S = 10
"""Seconds that a head may take to arrive, from the connection or from its first byte."""

_GRACE_S = 1

ANSWER_S = 30
"""Seconds that an answer may wait for its reader to take more of it."""


class _ParsingEnd(Exception):
    """Ends the parsing of what a connection sends; the parser passes it on to its caller."""


class LimitedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which by itself has none of these limits."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it if there are too many."""
        super().connection_made(transport)
        self._n_silent = 0
        self._is_head = True
        self._is_deaf = False
        self._refusal: tuple[int, str] | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._head_is_late)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, f"{MAX_CONNECTIONS} connections are open; try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._take_time_off()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, as far as the limits allow."""
        if self._is_deaf:
            return
        self._n_silent += len(data)
        super().data_received(data)
        self._judge()

    def _judge(self) -> None:
        """Check what has arrived that is neither a request nor a part of its body."""
        if self._is_deaf:
            return
        if self._n_silent > MAX_HEAD:
            self._refuse(431, f"more than {MAX_HEAD:,} bytes arrived that are not part of a body")
        elif self._slow is None and self._waits_for_nothing():
            self._slow = self.loop.call_later(HEAD_S, self._head_is_late)

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Accept a header or a trailer."""
        if len(self.headers) >= MAX_HEADERS:
            self._refusal = 431, f"more than {MAX_HEADERS} headers arrived"
            raise _ParsingEnd
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a request, or let it wait for those before it."""
        if self._head_bytes() > MAX_HEAD:
            self._refusal = 431, f"the head is larger than {MAX_HEAD:,} bytes"
            raise _ParsingEnd
        if len(self.pipeline) >= MAX_AHEAD:
            self.cycle.keep_alive = (
                False  # with the last answer the connection ends; the client must send the rest again
            )
            self._is_deaf = True
            raise _ParsingEnd
        self._is_head, self._n_silent = False, 0
        self._take_time_off()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Accept a part of a body."""
        self._n_silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._is_head, self._n_silent = True, 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Wait for the reader of an answer, but not for ever."""
        if self._stuck is None:
            self._stuck = self.loop.call_later(ANSWER_S, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Continue the answer."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; what it has not read by now is dropped."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed, or what exceeds a limit."""
        if not self._is_deaf:
            self._refuse(*(self._refusal or (400, msg)))

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _waits_for_nothing(self) -> bool:
        """Tell whether only a head has begun, or the rest of a body arrives that is answered already."""
        return bool(self._n_silent) if self._is_head else self.cycle.response_complete

    def _head_is_late(self) -> None:
        """Leave time to parse what may have arrived while this process was busy."""
        self._slow = self.loop.call_later(_GRACE_S, self._end)

    def _end(self) -> None:
        self._slow = None
        if self._is_head and self._n_silent:
            self._refuse(408, f"the head did not arrive within {HEAD_S} s")
        else:  # no request was received
            self.transport.close()

    def _may_answer(self) -> bool:
        """Tell whether the client would take text written now for the answer to its last request."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            return True
        return not (self._is_head or self.pipeline or cycle.response_started)

    def _take_time_off(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _refuse(self, status: int, message: str) -> None:
        """Answer with a line of text and close the connection; only close it if an answer is under way."""
        self._is_deaf = True
        self._take_time_off()
        if self.transport.is_closing():
            return
        if self._may_answer():
            content = message.encode("ascii", "replace")
            head = (
                b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
                b"content-length: %d\r\n" % len(content)
            )
            self.transport.write(STATUS_LINE[status] + head + b"\r\n" + content)
        self.transport.close()
