"""Connections to an endpoint, plain or TLS 1.3, for the commands and the Python interface."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from gatewright.kernel.errors import BadInput, Misuse

HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a server that listens everywhere is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How a server is known, and how a caller shows itself.

    ``authority`` is a PEM file of authorities (None: the system's), ``name`` what the certificate must
    say (empty: the host of the URL), ``certificate`` a PEM file with the caller's own certificate and key;
    the key may lie in a file of its own, ``key``, and is not encrypted.
    """

    authority: Path | None = None
    name: str = ""
    certificate: Path | None = None
    key: Path | None = None


class _Encrypted(HTTPConnection):
    """Encrypted from the first byte of every connection that it makes."""

    def __init__(self, host: str, port: int | None, *, wait_s: float, trust: Trust) -> None:
        super().__init__(host, port, timeout=wait_s)
        self._context = _context(trust)
        self._name = trust.name or host

    def connect(self) -> None:
        """Connect, and verify who answers."""
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)


def connection_to(url: str, trust: Trust, *, wait_s: float) -> HTTPConnection:
    """A connection that is not yet made. Raises Misuse for other addresses, BadInput for unusable files."""
    place = urlsplit(url)
    host = HERE.get(place.hostname or "", place.hostname or "")
    if place.scheme == "http" and host:
        return HTTPConnection(host, place.port, timeout=wait_s)
    if place.scheme == "https" and host:
        return _Encrypted(host, place.port, wait_s=wait_s, trust=trust)
    raise Misuse(
        "assembly.address",
        f"{url[:200]!r} is not the address of a server.",
        next="Write it as https://NAME:PORT.",
    )


def _context(trust: Trust) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=trust.authority)
        if trust.certificate is not None:
            # a password, so that nobody is asked for one at the terminal: no key here is encrypted
            context.load_cert_chain(trust.certificate, trust.key, password="")
    except OSError as error:  # ssl.SSLError among them
        raise BadInput(
            "assembly.trust-file",
            "The certificates for the call cannot be read.",
            why=str(error),
            next="Give PEM files: the server's authority, and the caller's certificate with its key.",
            place=" ".join(
                str(each) for each in (trust.authority, trust.certificate, trust.key) if each is not None
            ),
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
