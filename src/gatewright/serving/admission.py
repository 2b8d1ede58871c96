"""First step of a request: who calls, for which route, from which host, and how much is coming.

Everything here is decided from the head of the request, before a byte of its body is read. A
refusal is a :class:`Turned` with a status; it names nothing that the caller did not send.

An API key is compared as its SHA-256, in constant time, against every key of the table, whether
or not an earlier one fitted: how long it takes tells nothing about how much of a guess was right.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias

from gatewright.serving.limits import BODY, KEY

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers: TypeAlias = Mapping[bytes, bytes]

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SINGLE = frozenset({b"host", b"authorization", b"content-length", b"content-type", b"transfer-encoding"})
_FORM = b"application/x-www-form-urlencoded"
_JSON_TYPES = frozenset({b"", b"application/json", _FORM})
_BINARY_LENGTH = b"inference-header-content-length"
BINARY_REFUSED = (
    "Binary tensors are not served yet: send JSON tensors "
    "(in tritonclient: set_data_from_numpy(data, binary_data=False))."
)


class Turned(Exception):
    """A request that is turned away: HTTP status, a sentence, and headers that go with it."""

    def __init__(self, status: int, sentence: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.status = status
        self.sentence = sentence
        self.headers = headers
        super().__init__(sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An API key that the plan knows: its SHA-256 (32 bytes), its id and the endpoint it admits to."""

    digest: bytes
    id: str
    endpoint: str


def is_loopback(host: str) -> bool:
    """Whether a bind address never leaves this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by lower-case name; one that decides something may come only once."""
    found: dict[bytes, bytes] = {}
    for name, value in raw:
        if name in found and name in _SINGLE:
            raise Turned(400, f"The header {name.decode('ascii', 'replace')} comes more than once.")
        found[name] = value
    return found


def check_host(headers: Headers, hosts: frozenset[str]) -> None:
    """Refuse a Host that is not on the list: a web page cannot reach the worker by a name of its own."""
    name = headers.get(b"host", b"").decode("latin-1").lower()
    if name in hosts:
        return
    front, colon, port = name.rpartition(":")
    if not (colon and front in hosts and port.isdecimal()):
        raise Turned(421, "This server does not answer for the host that was asked.")


def authenticate(headers: Headers, known: tuple[Admitted, ...]) -> tuple[Admitted, ...]:
    """The admissions that the caller's key gives, at least one, or 401."""
    scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
    secret = secret.strip()
    digest = sha256(secret[: KEY.value + 1]).digest()
    found = tuple(each for each in known if hmac.compare_digest(each.digest, digest))
    if not found or scheme.lower() != b"bearer" or len(secret) > KEY.value:
        raise Turned(
            401,
            "A valid API key is needed: send 'Authorization: Bearer KEY'.",
            ((b"www-authenticate", b'Bearer realm="gatewright"'),),
        )
    return found


def _content_type(headers: Headers) -> bytes:
    return headers.get(b"content-type", b"")[:256].partition(b";")[0].strip().lower()


def _not_json() -> Turned:
    return Turned(415, "Only JSON is read here: send Content-Type application/json, or none.")


def check_content(headers: Headers) -> None:
    """Refuse, from the head alone, a body that is too long, of no stated length, or not JSON.

    A body announced as a form passes here: see :func:`check_form`.
    """
    if _BINARY_LENGTH in headers:
        raise Turned(400, BINARY_REFUSED)
    if _content_type(headers) not in _JSON_TYPES or b"payload-container" in headers:
        raise _not_json()
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise Turned(415, "Compressed bodies are not read here.")
    length = headers.get(b"content-length")
    if length is None:
        if b"transfer-encoding" not in headers:
            raise Turned(411, "A body needs a Content-Length.")
    elif not length.isdigit() or len(length) > 20:
        raise Turned(400, "The Content-Length is not a number.")
    elif int(length) > BODY.value:
        raise too_long()


def check_form(headers: Headers, body: bytes) -> None:
    """Refuse a form: ``curl -d`` calls JSON one when it is told nothing, and only that is read."""
    if _content_type(headers) == _FORM and not body.lstrip().startswith(b"{"):
        raise _not_json()


def too_long() -> Turned:
    """The refusal of a body beyond the limit; the connection closes, so that it need not be read."""
    return Turned(413, f"The body is longer than {BODY.value:,} bytes.", ((b"connection", b"close"),))


async def read_body(receive: Receive) -> bytes:
    """The whole body; 413 as soon as it grows beyond the limit."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if message["type"] == "http.disconnect":
            raise Turned(400, "The body ended too early.")
        if len(body) > BODY.value:
            raise too_long()
        return body
    parts, total = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Turned(400, "The body ended too early.")
        parts.append(message.get("body", b""))
        total += len(parts[-1])
        if total > BODY.value:
            raise too_long()
    return b"".join(parts)
