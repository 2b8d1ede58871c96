"""HTTP/1.1 as uvicorn speaks it with httptools, within limits that it does not have by itself.

The head of a request is bounded in bytes and in headers, a request must arrive whole within a
time, and connections are counted. Refusals are JSON, as everywhere here, and close the connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gatewright.kernel import canonical
from gatewright.serving.limits import ARRIVAL_TIME, CONNECTIONS, HEAD, HEADERS, IDLE_TIME


class _TooLarge(Exception):
    """The head of a request is beyond a limit; raised through the parser."""


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._head_bytes = 0
        self._raw_bytes = 0
        self._in_head = False
        self._whole = False
        self._too_large = False
        self._arrival: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and give it a time to say something."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS.value:
            self._turn_away(503, f"More than {CONNECTIONS.value:,} connections are open.")
        else:
            self._arrival = self.loop.call_later(IDLE_TIME.value, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._arrived()
        super().connection_lost(exc)

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what has not arrived whole by now gets a deadline."""
        if self.transport.is_closing():
            return
        begun = self._in_head
        super().data_received(data)
        if self.transport.is_closing():
            return
        if begun and self._in_head:
            self._raw_bytes += len(data)
            if self._raw_bytes > HEAD.value:
                self._too_large = True
                self.send_400_response("")
                return
        if self._in_work():
            self._arrived()
        elif self._arrival is None:
            self._arrival = self.loop.call_later(ARRIVAL_TIME.value, self.timeout_keep_alive_handler)

    def _in_work(self) -> bool:
        """Whether a whole request is here and waits for its answer."""
        return self._whole and not self.cycle.response_complete

    def on_message_begin(self) -> None:
        """Start counting."""
        self._head_bytes = 0
        self._raw_bytes = 0
        self._in_head = True
        self._whole = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header, within the limits."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > HEAD.value or len(self.headers) >= HEADERS.value:
            self._too_large = True
            raise _TooLarge
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._head_bytes + len(self.url) > HEAD.value:
            self._too_large = True
            raise _TooLarge
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._whole = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Turn away what is not HTTP, or too much of it; ``msg`` is uvicorn's own text."""
        del msg
        if self._too_large:
            self._turn_away(431, "The request line and headers are too large.")
        else:
            self._turn_away(400, "This is not a valid HTTP request.")

    def _turn_away(self, status: int, sentence: str) -> None:
        body = canonical.encode({"error": sentence})
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()
