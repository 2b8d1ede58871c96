"""How traffic reaches a server: what the options of ``serve`` mean together.

Encrypted everywhere beyond the loopback, unless somebody says in words what ends TLS in front.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from gatewright.kernel.errors import Misuse
from gatewright.serving.admission import is_loopback
from gatewright.serving.slots import Reach

TLS_OPTIONS = ("tls", "tls_cert", "tls_key", "client_ca", "tls_ended_by")
"""The keywords of :func:`reach_of`, among those of a server."""
ENDED_BY_CHARACTERS = 120
ONE_IN_BRACKETS = 6


def reach_of(
    host: str,
    *,
    tls: bool = False,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    client_ca: Path | None = None,
    tls_ended_by: str = "",
) -> Reach:
    """Plain on the loopback, TLS beyond it and where it is asked for. Raises Misuse for a contradiction."""
    if (tls_cert is None) != (tls_key is None):
        raise Misuse(
            "assembly.half-a-certificate",
            "A certificate is given with its private key.",
            next="Give --tls-cert and --tls-key together, or neither.",
        )
    encrypted = tls or tls_cert is not None or client_ca is not None
    if tls_ended_by:
        _require_words(tls_ended_by)
        if encrypted:
            raise Misuse(
                "assembly.tls-twice",
                "Either this server speaks TLS, or something in front of it ends TLS.",
                next="Leave out --tls-ended-by, or --tls, --tls-cert, --tls-key and --client-ca.",
            )
        return Reach.PLAIN
    return Reach.TLS if encrypted or not is_loopback(host) else Reach.LOOPBACK


def _require_words(text: str) -> None:
    if len(text) > ENDED_BY_CHARACTERS or not text.isprintable() or not text.strip():
        raise Misuse(
            "assembly.tls-ended-by",
            f"--tls-ended-by takes a few words on one line, at most {ENDED_BY_CHARACTERS} characters.",
            next="Name what ends TLS, as --tls-ended-by 'the ingress of cluster blue'.",
        )


def certificate_needed() -> Misuse:
    """What is wrong where a mounted folder would be served with TLS and has no certificate."""
    return Misuse(
        "assembly.certificate-needed",
        "A mounted folder is served beyond this machine with a certificate of yours.",
        why="Traffic carries API keys and rows, and a mounted folder has no authority to make one with.",
        next="Give --tls-cert and --tls-key; or, where a mesh or an ingress ends TLS, name it with --tls-ended-by.",
    )


def only_localhost(host: str, allowed: tuple[str, ...], *, own_certificate: bool) -> str:
    """That a server listens everywhere and nobody elsewhere can name it, or nothing."""
    if answered_hosts(host, allowed):
        return ""
    certificate = "" if own_certificate else ", and its certificate names no other"
    return (
        f"This server listens on {host} but answers only for localhost{certificate}: callers on other "
        "machines are refused. Next: --allow-host NAME, with the name or address that they use."
    )


def answered_hosts(host: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a server answers for: those allowed, and its own address where that is one place."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return (*allowed, host)
    if address.is_unspecified:
        return allowed
    return (*allowed, f"[{host}]" if address.version == ONE_IN_BRACKETS else host)
