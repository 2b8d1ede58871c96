"""Asking a server how it is: what a container's probe runs."""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import dataclass, replace
from http.client import HTTPException, RemoteDisconnected
from pathlib import Path
from urllib.parse import urlsplit

from gatewright.assembly.calling import Trust, connection_to
from gatewright.assembly.settings import HOME_FOLDER, find_root
from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError
from gatewright.operations.files import read_file

LOOPBACK = "127.0.0.1"
LIVE = "/v2/health/live"
READY = "/v2/health/ready"
ANSWER_SECONDS = 5.0
KEY_BYTES = 256
STATUS_BYTES = 1_048_576
GOOD = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The path that was asked and the HTTP status of the answer."""

    path: str
    status: int


def served_address(start: Path) -> str:
    """Where the server of the home at or above ``start`` listens, as it said; else the loopback."""
    try:
        place = find_root(start, os.environ) / HOME_FOLDER / "segments" / "serve.json"
        said = json.loads(read_file(place, limit=STATUS_BYTES))
        return (urlsplit(said["url"]).hostname if said["serving"] else None) or LOOPBACK
    except (GatewrightError, ValueError, KeyError, TypeError, AttributeError):
        return LOOPBACK


def ask(host: str, port: int, key_file: Path | None, trust: Trust | None = None) -> Said:
    """Ask for life, or with an API key for readiness; DependencyFailed unless the answer is 200.

    With ``trust`` over TLS; an empty name in it is ``localhost``.
    """
    path, headers = (LIVE, {}) if key_file is None else (READY, {"Authorization": f"Bearer {_key(key_file)}"})
    scheme, trust = (
        ("http", Trust()) if trust is None else ("https", replace(trust, name=trust.name or "localhost"))
    )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connection = connection_to(f"{scheme}://{address}", trust, wait_s=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise _no_answer(address, error, trust) from None
    finally:
        connection.close()
    if status != GOOD:
        raise DependencyFailed("assembly.not-ready", f"{path} answers {status}.")
    return Said(path=path, status=status)


def _no_answer(address: str, error: OSError | HTTPException, trust: Trust) -> DependencyFailed:
    """What is there: nothing, a server that nobody trusts, or one that wants to know the caller."""
    why = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return DependencyFailed(
            "assembly.not-trusted",
            f"What answers at {address} does not show a certificate for {trust.name} that is trusted.",
            why=error.verify_message,
            next="Name the server's authority with --tls-ca, and with --tls-name a name in the certificate.",
        )
    if isinstance(error, ssl.SSLError) and _is_about_the_caller(error.reason or ""):
        return DependencyFailed(
            "assembly.caller-certificate",
            f"The server at {address} answers only callers with a certificate that it trusts.",
            why="The one that was shown is not." if trust.certificate else "None was shown.",
            next="Give --client-cert FILE: a PEM file with a certificate for it, and the key.",
        )
    closed = isinstance(error, RemoteDisconnected | ConnectionResetError | BrokenPipeError | ssl.SSLError)
    hint = "Where it speaks TLS, give --tls-ca."
    if trust.authority is not None:  # the alert that says so is lost where the connection is reset
        hint = "Where it asks for certificates of callers, give --client-cert FILE; where it is plain, leave --tls-ca out."
    return DependencyFailed(
        "assembly.no-answer",
        f"What listens at {address} does not answer." if closed else f"Nothing answers at {address}.",
        why=why,
        next=hint if closed else "",
    )


def _is_about_the_caller(reason: str) -> bool:
    """Whether an alert refuses the caller's certificate, or that there is none (RFC 8446 section 6.2)."""
    return "_ALERT_" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _key(place: Path) -> str:
    try:
        return read_file(place, limit=KEY_BYTES).decode("ascii").strip()
    except UnicodeDecodeError:
        raise BadInput("assembly.probe-key", f"{place} does not hold an API key.") from None
