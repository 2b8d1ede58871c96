"""Where a request ends, and what follows it (RFC 9112 sections 3 and 6).

A body that another party on the way takes to end elsewhere would hide a request of its own: what is
not clear is refused. An upgrade is not offered, and a request that asks for one has its body all the
same, though the parser takes what follows its head for another protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import httptools


class Parsed(Protocol):
    """What a parser tells of requests."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        ...

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        ...

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        ...

    def on_headers_complete(self) -> None:
        """The head is whole."""
        ...

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        ...

    def on_message_complete(self) -> None:
        """The request is whole."""
        ...


class Malformed(Exception):
    """The head of a request leaves open where the request ends; raised through the parser."""


class Rest:
    """What a new parser tells, to which the head of the request that it goes on with was said again."""

    def __init__(self, connection: Parsed) -> None:
        self._connection = connection
        self._begun = False
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete

    def on_message_begin(self) -> None:
        """Begin a request, but for the first, which was begun."""
        if self._begun:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of a request target."""
        if self._begun:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if self._begun:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._begun:
            self._connection.on_headers_complete()
        self._begun = True


def check_framing(headers: dict[bytes, bytes], version: str, *, doubled: bool) -> None:
    """Refuse what others may take to end elsewhere (RFC 9112 section 6.1); raises Malformed.

    ``doubled`` says that a header came twice that decides something.
    """
    codings = headers.get(b"transfer-encoding")
    if version not in {"1.0", "1.1"} or (version == "1.0" and codings is not None):
        raise Malformed
    if codings is not None and (doubled or codings.lower() != b"chunked"):
        raise Malformed
    if version == "1.0":
        headers.pop(b"expect", None)  # RFC 9110 section 10.1.1


def framing_of(headers: Mapping[bytes, bytes]) -> bytes:
    """The header that says where a body ends; empty where there is none."""
    if b"transfer-encoding" in headers:
        return b"transfer-encoding: chunked"
    return b"content-length: " + headers[b"content-length"] if b"content-length" in headers else b""


def path_of(url: bytes) -> str:
    """The path of a request target, as it was sent; empty where there is none (RFC 9112 section 3.2)."""
    if not url.startswith(b"/"):
        try:
            url = httptools.parse_url(url).path or b""
        except httptools.HttpParserInvalidURLError:
            return ""
    return url.partition(b"?")[0].decode("latin-1")


def after_upgrade(connection: Parsed, framing: bytes) -> httptools.HttpRequestParser:
    """A parser that goes on with the body of a request, where another took it for another protocol."""
    parser = httptools.HttpRequestParser(Rest(connection))
    parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
    return parser
