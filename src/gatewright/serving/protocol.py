"""HTTP/1.1 for the data plane, on httptools: one object a connection, no task and no queue a request.

A request is *opened* when its head is whole (may it run at all?) and *run* when its body is; either
may answer it, now or later, from the event loop. Requests of one connection are answered in the
order in which they came. RFC 9112; upgrades are not offered and not minded.

Everything is bounded: bytes and number of headers, bytes of a body, time to arrive, time to take an
answer, connections, and requests that wait behind one another. Refusals are JSON, as everywhere
here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from time import monotonic, time
from typing import Any, Protocol, cast

import httptools

from gatewright.kernel import canonical
from gatewright.serving.framing import after_upgrade, check_framing, framing_of, path_of
from gatewright.serving.limits import (
    ANSWER_TIME,
    ARRIVAL_TIME,
    BODY,
    CONNECTIONS,
    HEAD,
    HEADERS,
    IDLE_TIME,
    PIPELINED,
)

SWEEP_SECONDS = 0.1
SMALL_BYTES = 16_384
"""A longer body goes out beside its head instead of being copied behind it."""
ONCE = frozenset(
    {
        b"host", b"authorization", b"content-length", b"content-type", b"transfer-encoding",
        b"gatewright-subject", b"inference-header-content-length",
    }
)  # fmt: skip
"""Headers that decide something: one that comes twice would mean two things."""

Extra = tuple[tuple[bytes, bytes], ...]
STATUS_LINE = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
JSON_TYPE = b"application/json"


class Application(Protocol):
    """What answers requests; neither call raises, both on the event loop."""

    def open(self, request: Request) -> None:
        """The head of a request is here; answer it, or leave it to come whole."""
        ...

    def run(self, request: Request) -> None:
        """An opened request is whole; answer it now or later."""
        ...

    def abandon(self, request: Request) -> None:
        """The caller of an opened request is gone before it was whole."""
        ...


class Request:
    """One request: ``headers`` by lower-case name, ``path`` without its query, ``body`` once it is whole.

    ``state`` is the application's own.
    """

    __slots__ = (
        "_connection", "_pieces", "answered", "body", "doubled", "headers", "keep_alive", "method",
        "opened", "path", "running", "size", "state", "whole",
    )  # fmt: skip

    def __init__(self, connection: BoundedHttp) -> None:
        self._connection = connection
        self._pieces: bytearray | None = None
        self.method = ""
        self.path = ""
        self.headers: dict[bytes, bytes] = {}
        self.doubled: bytes | None = None
        self.body = b""
        self.size = 0
        self.keep_alive = True
        self.opened = False
        self.whole = False
        self.running = False
        self.answered = False
        self.state: Any = None

    @property
    def peer(self) -> str:
        """The address at the other end of the connection, without its port."""
        return self._connection.peer

    def answer(self, status: int, body: bytes, kind: bytes = JSON_TYPE, extra: Extra = ()) -> None:
        """Send the answer, once, from the event loop; to nobody when the caller is gone."""
        if not self.answered:
            self.answered = True
            self._connection.send(self, status, body, kind, extra)

    def more(self, data: bytes) -> None:
        """A piece of the body."""
        if self.answered:
            pass
        elif not self.size:
            self.body = data
        elif self._pieces is None:
            self._pieces = bytearray(self.body + data)
        else:  # not kept one by one: small chunks would take many times their size
            self._pieces += data
        self.size += len(data)

    def close(self) -> None:
        """The body is whole."""
        self.whole = True
        if self._pieces is not None:
            self.body, self._pieces = bytes(self._pieces), None


class Connections:
    """What the connections of one worker share: who is there, the time of day, and whether to end.

    ``sweep`` ends those whose time is over; call it in a task.
    """

    def __init__(self, app: Application) -> None:
        self.app = app
        self.open: set[BoundedHttp] = set()
        self.ending = False
        self.now = monotonic()
        self.date = b""
        self._tell_date()

    def __call__(self) -> BoundedHttp:
        """A protocol for one more connection."""
        return BoundedHttp(self)

    def _tell_date(self) -> None:
        self.date = b"date: %b\r\n" % formatdate(time(), usegmt=True).encode()

    async def sweep(self) -> None:
        """Every now and then, end the connections whose time is over."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.now = monotonic()
            self._tell_date()
            for each in tuple(self.open):
                each.end_late(self.now)

    def end(self) -> None:
        """Let no connection begin another request; idle ones close now."""
        self.ending = True
        for each in tuple(self.open):
            each.end_idle()

    def abort(self) -> None:
        """Cut off whoever is still there."""
        for each in tuple(self.open):
            each.abort()


class _TooLarge(Exception):
    """A request is beyond a limit; raised through the parser."""


class BoundedHttp(asyncio.Protocol):
    """One connection."""

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._request: Request | None = None
        self._waiting: deque[Request] = deque()
        self._url = b""
        self._head_bytes = 0
        self._raw_bytes = 0
        self._in_head = False
        self._too_large = False
        self._framing = b""
        self._deaf = False
        self._since = shared.now
        self._held = False
        self._full = False
        self._gone = False
        self._advancing = False
        self.peer = ""

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else ""
        self._since = monotonic()
        if self._shared.ending or len(self._shared.open) >= CONNECTIONS.value:
            self._turn_away(503, f"More than {CONNECTIONS.value:,} connections are open.")
        else:
            self._shared.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody reads any more; what was opened and is not whole is given up."""
        del exc
        self._gone = True
        self._shared.open.discard(self)
        for request in self._waiting:
            if request.opened and not request.running and not request.answered:
                self._shared.app.abandon(request)

    def eof_received(self) -> bool:
        """The caller sends no more: what it asked is still answered, then the connection closes."""
        self._give_up_last()
        if not self._waiting:
            self._since = monotonic()
        return bool(self._waiting)

    def pause_writing(self) -> None:
        """The caller does not take what it is given."""
        self._full = True
        self._since = monotonic()

    def resume_writing(self) -> None:
        """It does."""
        self._full = False
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._over() or self._deaf:
            return
        request = self._request
        size = 0 if request is None else request.size
        try:
            self._feed(data)
        except (httptools.HttpParserError, _TooLarge):
            self._refuse_bytes()
            return
        if request is not None and request is self._request and not request.whole and request.size == size:
            self._raw_bytes += len(data)  # of a head, of trailers or of what goes with a chunk
            if self._raw_bytes > HEAD.value:
                self._too_large = True
                self._refuse_bytes()

    def _feed(self, data: bytes) -> None:
        """Parse; an upgrade is not offered: what follows is more of HTTP/1.1."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            else:
                return
            if self._framing:  # the parser takes the body for another protocol
                framing, self._framing = self._framing, b""
                self._parser = after_upgrade(self, framing)
            if not data:
                return

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._head_bytes = 0
        self._raw_bytes = 0
        self._in_head = True
        self._url = b""
        self._request = Request(self)
        if not self._waiting:
            self._since = self._shared.now

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        self._url += url
        if len(self._url) > HEAD.value:
            self._too_large = True
            raise _TooLarge

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header, within the limits."""
        request = self._request
        assert request is not None  # noqa: S101 - on_message_begin comes first
        self._head_bytes += len(name) + len(value) + 4
        headers = request.headers
        if self._head_bytes > HEAD.value or len(headers) >= HEADERS.value:
            self._too_large = True
            raise _TooLarge
        if not self._in_head:  # a trailer (RFC 9110 section 6.5.1)
            return
        name = name.lower()
        if name in headers:
            self._head_bytes += HEAD.value // HEADERS.value  # repeated ones are counted, too
            if name in ONCE:
                request.doubled = name
        headers[name] = value

    def on_headers_complete(self) -> None:
        """The head is whole."""
        request = self._request
        assert request is not None  # noqa: S101 - on_message_begin comes first
        if self._head_bytes + len(self._url) > HEAD.value:
            self._too_large = True
            raise _TooLarge
        self._in_head = False
        parser = self._parser
        version = parser.get_http_version()
        if version != "1.1" or b"transfer-encoding" in request.headers:
            check_framing(request.headers, version, doubled=request.doubled is not None)
        request.method = parser.get_method().decode("ascii")
        request.path = path_of(self._url)
        request.keep_alive = parser.should_keep_alive()
        if parser.should_upgrade():
            self._framing = framing_of(request.headers)
        self._waiting.append(request)
        if self._waiting[0] is request:
            self._open(request)
        elif len(self._waiting) > PIPELINED.value:
            self._hold()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; one that is refused already is let pass, within the limit."""
        request = self._request
        assert request is not None  # noqa: S101 - on_message_begin comes first
        request.more(body)
        if request.size > BODY.value:
            if request is not self._waiting[0]:
                raise _TooLarge
            if not request.answered:
                self._refuse_body(request)
            self._close()
        elif request.size > SMALL_BYTES and not request.opened:
            self._hold()

    def on_message_complete(self) -> None:
        """The request is whole."""
        request = self._request
        assert request is not None  # noqa: S101 - on_message_begin comes first
        if not self._framing:
            request.close()
            self._advance()

    # From one request to the next.

    def _over(self) -> bool:
        return self._gone or self._transport.is_closing()

    def _open(self, request: Request) -> None:
        if self._over():
            return
        request.opened = True
        self._shared.app.open(request)
        if not request.answered and request.headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _advance(self) -> None:
        """Go on with the oldest request that waits, as far as it can go now."""
        if self._advancing:  # an answer was given within: the loop below goes on
            return
        self._advancing = True
        try:
            while self._waiting and not self._full and not self._over():
                request = self._waiting[0]
                if not request.opened:
                    self._open(request)
                if not request.whole:
                    break
                if not request.answered and not request.running:
                    request.running = True
                    self._shared.app.run(request)
                if not request.answered:
                    break
                self._waiting.popleft()
                self._since = self._shared.now
        finally:
            self._advancing = False
        if self._held and not self._deaf and self._may_read():
            self._held = False
            self._transport.resume_reading()
        if not self._waiting and self._shared.ending:
            self._close()

    def _may_read(self) -> bool:
        """Whether little enough waits: few requests, and no body of one that is not let in yet."""
        if not self._waiting:
            return True
        last = self._waiting[-1]
        return len(self._waiting) <= PIPELINED.value // 2 and (last.opened or last.size <= SMALL_BYTES)

    def _hold(self) -> None:
        if not self._held:
            self._held = True
            self._transport.pause_reading()

    # Answers.

    def send(self, request: Request, status: int, body: bytes, kind: bytes, extra: Extra) -> None:
        """Write an answer, and go on."""
        if self._over():
            return
        close = not request.keep_alive or self._shared.ending
        if not request.whole and b"expect" in request.headers:  # whether its body comes is not known
            close = True
        head = [
            STATUS_LINE[status],
            self._shared.date,
            b"content-type: %b\r\ncontent-length: %d\r\n" % (kind, len(body)),
        ]
        for name, value in extra:
            head.append(b"%b: %b\r\n" % (name, value))
            close = close or (name == b"connection" and value == b"close")
        if close:
            head.append(b"connection: close\r\n\r\n")
        else:
            head.append(b"\r\n")
        if request.method == "HEAD":
            body = b""
        if len(body) <= SMALL_BYTES:
            head.append(body)
            self._transport.write(b"".join(head))
        else:
            self._transport.write(b"".join(head))
            self._transport.write(body)
        if close:
            self._close()
        else:
            self._advance()

    def _refuse_body(self, request: Request) -> None:
        self._shared.app.abandon(request)
        sentence = f"The body is longer than {BODY.value:,} bytes."
        request.answer(413, canonical.encode({"error": sentence}), JSON_TYPE, ((b"connection", b"close"),))

    def _refuse_bytes(self) -> None:
        """Turn away what is not HTTP, or too much of it; what was asked before is answered first."""
        broken = self._give_up_last()
        if self._waiting:
            return
        if broken is not None and broken.answered:
            self._close()
            return
        if self._too_large:
            self._turn_away(431, "The request line and headers are too large.")
        else:
            self._turn_away(400, "This is not a valid HTTP request.")

    def _give_up_last(self) -> Request | None:
        """Read no more. The request that is not whole will not be, and is given back; the last whole one ends all."""
        self._deaf = True
        broken = self._waiting.pop() if self._waiting and not self._waiting[-1].whole else None
        if broken is not None and broken.opened and not broken.answered:
            self._shared.app.abandon(broken)
        if self._waiting:
            self._waiting[-1].keep_alive = False
            self._hold()
        return broken

    def _close(self) -> None:
        """Close, once what was written is taken."""
        self._since = monotonic()
        self._transport.close()

    def _turn_away(self, status: int, sentence: str) -> None:
        body = canonical.encode({"error": sentence})
        self._transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            + body
        )
        self._close()

    # Time.

    def end_late(self, now: float) -> None:
        """Close the connection when what it waits for did not come in time."""
        passed = now - self._since
        stalled = self._full or self._transport.is_closing()
        if stalled:
            late = passed > ANSWER_TIME.value
        elif self._waiting and self._waiting[0].whole:
            late = False  # it waits for us
        elif self._waiting or self._in_head:
            late = passed > ARRIVAL_TIME.value
        else:
            late = passed > IDLE_TIME.value
        if late and stalled:
            self._transport.abort()
        elif late:
            self._close()

    def abort(self) -> None:
        """Cut the connection off."""
        self._transport.abort()

    def end_idle(self) -> None:
        """Close the connection when it has nothing in work."""
        if not self._waiting:
            self._close()
