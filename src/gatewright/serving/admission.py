"""First step of a request: who calls, for which route, from which host, and how much is coming.

Everything here is decided from the head of the request, before a byte of its body is read. A
refusal is a :class:`Turned` with a status; it names nothing that the caller did not send.

An API key is looked up by its SHA-256, which takes as long for one key as for a million. How long it
takes tells nothing about how much of a guess was right: a guess chooses its secret, not its digest,
and a digest that begins like another does not make the guess any nearer; moreover the table compares
bytes only where their hashes, keyed anew in every process, are equal. The digest that was found is
compared once more, in constant time.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from gatewright.serving.limits import BODY, KEY, SUBJECT

Headers: TypeAlias = Mapping[bytes, bytes]
Callers: TypeAlias = "Mapping[bytes, tuple[Admitted, ...]]"
"""Admissions by the SHA-256 of their API key."""

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_FORM = b"application/x-www-form-urlencoded"
_JSON_TYPES = frozenset({b"", b"application/json", _FORM})
BINARY_TYPE = b"application/octet-stream"
BINARY_LENGTH = b"inference-header-content-length"
"""The header that says how many bytes of a body are its JSON: binary tensors follow them."""


class Turned(Exception):
    """A request that is turned away: HTTP status, a sentence, and headers that go with it.

    ``reason`` is a word for metrics and logs where the status alone does not tell.
    """

    def __init__(
        self,
        status: int,
        sentence: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        *,
        reason: str = "",
    ) -> None:
        self.status = status
        self.sentence = sentence
        self.headers = headers
        self.reason = reason
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


def check_host(headers: Headers, hosts: frozenset[str]) -> None:
    """Refuse a Host that is not on the list: a web page cannot reach the worker by a name of its own."""
    name = headers.get(b"host", b"").decode("latin-1").lower()
    if name in hosts:
        return
    front, colon, port = name.rpartition(":")
    if not (colon and front in hosts and port.isdecimal()):
        raise Turned(421, "This server does not answer for the host that was asked.")


def by_digest(admitted: Iterable[Admitted]) -> Callers:
    """Admissions by the digest of their key; one key may admit to several endpoints."""
    found: dict[bytes, tuple[Admitted, ...]] = {}
    for each in admitted:
        found[each.digest] = (*found.get(each.digest, ()), each)
    return found


def authenticate(headers: Headers, known: Callers) -> tuple[Admitted, ...]:
    """The admissions that the caller's key gives, at least one, or 401."""
    scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
    secret = secret.strip()
    digest = sha256(secret[: KEY.value + 1]).digest()
    found = known.get(digest, ())
    if (
        not found
        or not hmac.compare_digest(found[0].digest, digest)
        or scheme.lower() != b"bearer"
        or len(secret) > KEY.value
    ):
        raise Turned(
            401,
            "A valid API key is needed: send 'Authorization: Bearer KEY'.",
            ((b"www-authenticate", b'Bearer realm="gatewright"'),),
        )
    return found


def subject_of(headers: Headers) -> str | None:
    """Whom the caller says a request is about, so that one subject always meets one release; or None.

    UTF-8, as in JSON and over gRPC: one name is one subject, wherever it stands. Raises Turned (400).
    """
    subject = headers.get(b"gatewright-subject")
    if subject is None:
        return None
    if len(subject) > SUBJECT.value:
        raise Turned(400, f"The subject has more than {SUBJECT.value} bytes.")
    try:
        return subject.decode("utf-8")
    except UnicodeDecodeError:
        raise Turned(400, "The subject is not UTF-8.") from None


def _content_type(headers: Headers) -> bytes:
    return headers.get(b"content-type", b"")[:256].partition(b";")[0].strip().lower()


def _not_json() -> Turned:
    return Turned(415, "Only JSON is read here: send Content-Type application/json, or none.")


def check_content(headers: Headers) -> int | None:
    """Refuse, from the head alone, a body that is too long, of no stated length, or not JSON.

    Gives the length in bytes of the JSON where binary tensors may follow it; None: the body is JSON.
    A body announced as a form passes here: see :func:`check_form`.
    """
    header = headers.get(BINARY_LENGTH)
    if header is not None and not (header.isdigit() and len(header) <= 20):
        raise Turned(400, "The Inference-Header-Content-Length is not a number.")
    kind = _content_type(headers)
    if kind == BINARY_TYPE and header is None:
        raise Turned(415, "Binary tensors need the header Inference-Header-Content-Length.")
    if (kind not in _JSON_TYPES and kind != BINARY_TYPE) or b"payload-container" in headers:
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
    return None if header is None else int(header)


def check_form(headers: Headers, body: bytes) -> None:
    """Refuse a form: ``curl -d`` calls JSON one when it is told nothing, and only that is read."""
    if _content_type(headers) == _FORM and not body.lstrip().startswith(b"{"):
        raise _not_json()


def too_long() -> Turned:
    """The refusal of a body beyond the limit; the connection closes, so that it need not be read."""
    return Turned(413, f"The body is longer than {BODY.value:,} bytes.", ((b"connection", b"close"),))
