"""The certificate that a worker shows, from its bytes to an OpenSSL context, and its rotation.

A context is made whole before it is used: a chain, a key or an authority that does not fit is refused
with a reason, and what was in use stays. New connections get the new context; old ones go on.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from OpenSSL._util import lib as _openssl

from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Refusal
from gatewright.kernel.instants import Instant

GROUPS = b"X25519MLKEM768/X25519"
"""The hybrid wherever the caller has it, at the price of a round trip; else X25519 alone."""
HTTP = b"http/1.1"
FILE_BYTES = 1_048_576
LAST_PART = 3
"""A certificate is said to end soon when a third of its time is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a worker shows and asks, as PEM.

    Its chain (its own certificate first), its private key, and the authorities of callers' certificates,
    None where none is asked for. Authorities that are there and empty are refused, not taken for none.
    ``files`` names where each part lies, for who has to mend it; a part made in memory has no file.
    """

    chain: bytes
    key: bytes
    client_ca: bytes | None = None
    files: Mapping[str, str] = field(default_factory=dict)


Source = Callable[[], Identity | None]
"""Asked every now and then: an identity when there is a new one, else None. The first answer is one."""


class WatchedFiles:
    """Files that are read when they are new. A change is taken once it stood still from one look to the next.

    Raises BadInput where a file cannot be read.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen: object = None
        self._taken: object = None

    def __call__(self) -> tuple[bytes, ...] | None:
        """What the files hold, where that is new."""
        seen = tuple(_state(path) for path in self._paths)
        before, self._seen = self._seen, seen
        if seen == self._taken or (before is not None and seen != before):
            return None
        self._taken = seen
        return tuple(_content(path) for path in self._paths)


def identity_of_files(chain: Path, key: Path, client_ca: Path | None = None) -> Source:
    """A :data:`Source` of PEM files.

    It raises BadInput where one cannot be read, Misuse for a key that is open to every user.
    """
    watched = WatchedFiles(chain, key) if client_ca is None else WatchedFiles(chain, key, client_ca)

    def look() -> Identity | None:
        found = watched()
        if found is None:
            return None
        _require_closed(key)
        return Identity(
            chain=found[0],
            key=found[1],
            client_ca=found[2] if client_ca is not None else None,
            files={"chain": str(chain), "key": str(key), "client_ca": str(client_ca or "")},
        )

    return look


class Certificates:
    """The identity in force, and its context.

    ``clock`` tells when a certificate ends; ``tell`` takes what a person should know. Raises BadInput
    or Misuse when the first identity cannot be used; later ones are refused through ``tell``.
    """

    def __init__(
        self, source: Source, *, clock: Callable[[], Instant], tell: Callable[[Refusal], None]
    ) -> None:
        self._source = source
        self._clock = clock
        self._tell = tell
        self._told = False
        first = source()
        if first is None:
            raise Misuse("serving.no-certificate", "There is no certificate to serve with.")
        self._take(first)

    def _take(self, identity: Identity) -> None:
        leaf = _chain(identity, "chain")[0]
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        if not begin <= self._now() < end:
            raise _unusable(f"It is valid from {_time(begin)} to {_time(end)}.", identity, "chain")
        self.context = context_of(identity)
        self.identity = identity
        self.leaf = leaf
        self._told = False

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock().ns / 1e9, UTC)

    def refresh(self) -> bool:
        """Take a new identity where there is one; whether it was. A bad one is told, and the old one stays."""
        try:
            found = self._source()
            if found is not None:
                self._take(found)
        except GatewrightError as error:
            stays = f"The old certificate stays in force; it ends on {_time(self.leaf.not_valid_after_utc)}."
            why = error.refusal.why.rstrip(".")
            self._tell(replace(error.refusal, why=f"{why}. {stays}" if why else stays))
            return False
        self._warn()
        return found is not None

    def _warn(self) -> None:
        end = self.leaf.not_valid_after_utc
        if not self._told and end - self._now() < (end - self.leaf.not_valid_before_utc) / LAST_PART:
            self._told = True
            self._tell(
                Refusal(
                    code="serving.certificate-ends",
                    what=f"The certificate of this server ends on {_time(end)}.",
                    next="Put a new one in its place; it is taken without a restart.",
                )
            )


def context_of(identity: Identity) -> SSL.Context:
    """The OpenSSL context that serves with an identity. Raises BadInput where it cannot be used.

    TLS 1.3 alone; no early data; no session is kept, so that a caller's certificate is looked at on
    every connection. A caller that offers other protocols than HTTP/1.1 alone is refused (RFC 7301
    section 3.2).
    """
    chain = _chain(identity, "chain")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_alpn_select_callback(_http)
    # pyOpenSSL has no name for the groups of TLS 1.3.
    if _openssl.SSL_CTX_set1_curves_list(context._context, GROUPS) != 1:  # noqa: SLF001
        raise _unusable("This OpenSSL does not have the key exchange X25519MLKEM768.", identity)
    try:
        context.use_certificate(chain[0])
        for each in chain[1:]:
            context.add_extra_chain_cert(each)
        _use_key(context, identity)
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        raise _unusable(_reason(error), identity, "chain", "key") from None
    if identity.client_ca is not None:
        _ask_callers(context, identity)
    return context


def _ask_callers(context: SSL.Context, identity: Identity) -> None:
    store = context.get_cert_store()
    for each in _chain(identity, "client_ca"):
        if store is not None:
            store.add_cert(crypto.X509.from_cryptography(each))
        context.add_client_ca(each)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)


def _http(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    del connection
    if HTTP in offered:
        return HTTP
    raise SSL.Error([("", "", "no protocol in common")])


def _chain(identity: Identity, part: str) -> list[x509.Certificate]:
    """The certificates of ``chain`` or ``client_ca``."""
    try:
        return x509.load_pem_x509_certificates(getattr(identity, part))
    except ValueError:
        raise _unusable("It holds no certificates in PEM.", identity, part) from None


def _use_key(context: SSL.Context, identity: Identity) -> None:
    pem = identity.key
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise _unusable("The private key is encrypted.", identity, "key") from None
    except ValueError:
        raise _unusable("The private key is not a PEM key.", identity, "key") from None
    if not isinstance(key, mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey):
        context.use_privatekey(key)  # type: ignore[arg-type]
        return
    with warnings.catch_warnings():  # the way that takes these keys, too, is the older one
        warnings.simplefilter("ignore", DeprecationWarning)
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, pem))


def _reason(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return f"OpenSSL says: {said if isinstance(said, str) else '; '.join(each[-1] for each in said)}."


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d at %H:%M} UTC"


def _unusable(why: str, identity: Identity, *parts: str) -> BadInput:
    return BadInput(
        "serving.certificate",
        "The certificate cannot be used.",
        why=why,
        next="Give a PEM chain, this server's certificate first, and its private key, not encrypted.",
        place=" and ".join(identity.files[part] for part in parts if identity.files.get(part)),
    )


# Files


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES)
    except OSError as error:
        raise BadInput(
            "serving.certificate-file",
            f"{path.name} cannot be read.",
            why=os.strerror(error.errno or 0),
            place=str(path),
        ) from None


def _require_closed(path: Path) -> None:
    """A private key that every user can read or replace proves nothing."""
    if path.stat().st_mode & stat.S_IRWXO:
        raise Misuse(
            "serving.key-open",
            f"The private key {path.name} is open to every user.",
            why="Who can read it can pose as this server.",
            next=f"Run: chmod o= {path}",
            place=str(path),
        )
