"""The home's own certificates: an authority kept with its keys, and a server's certificate made from it.

The server's certificate and its key are made in memory, each worker its own, and never written; a new
one is made before the old one ends. Only the authority's certificate is a file, for callers to trust.
"""

from __future__ import annotations

import ipaddress
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatewright.adapters.durable_files import create_exclusively, write_atomically
from gatewright.adapters.key_files import KeyFolder
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.kernel.instants import Instant
from gatewright.operations.files import read_file
from gatewright.serving.certificates import Identity, WatchedFiles

AUTHORITY_FILE = "tls-authority.pem"
AUTHORITY_TIME = timedelta(days=3_650)
SERVER_TIME = timedelta(days=30)
RENEWED_AFTER = timedelta(days=19)
"""Before the third of its time is left in which a certificate is said to end soon."""
BACK = timedelta(hours=1)
"""A caller's clock may be behind by so much."""
FILE_BYTES = 65_536
PUBLIC_FILE = 0o644
_HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
HOW_TO_TRUST = """\
This home made its own TLS certificate. Callers trust it by the authority's certificate:
  {path}
  SHA-256 {fingerprint}
Give them that file over a way you trust. They compare the fingerprint with what this prints:
  openssl x509 -in {name} -noout -fingerprint -sha256
Then, for example:
  curl --cacert {name} https://NAME:PORT/v2/health/live
  Python: urllib.request.urlopen(url, context=ssl.create_default_context(cafile="{name}"))
"""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class HomeCertificates:
    """A source of identities (``serving/certificates.py``) for the names that callers use.

    ``client_ca`` is a file with the authorities of callers' certificates. Raises BadInput for a name
    that no certificate can carry.
    """

    def __init__(
        self,
        folder: Path,
        keys: KeyFolder,
        names: tuple[str, ...],
        *,
        clock: Callable[[], Instant],
        client_ca: Path | None = None,
    ) -> None:
        self._key = _private(keys.authority_pem())
        self._clock = clock
        self._names = [_name(each) for each in dict.fromkeys((*names, *LOOPBACK_NAMES))]
        self._watched = None if client_ca is None else WatchedFiles(client_ca)
        self._client_ca: bytes | None = None
        self._files = {"client_ca": str(client_ca or "")}
        self._until: datetime | None = None
        self.path = folder / AUTHORITY_FILE
        self.authority = self._kept_authority()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate (DER), as ``openssl x509 -fingerprint`` writes it."""
        return self.authority.fingerprint(hashes.SHA256()).hex(":").upper()

    def __call__(self) -> Identity | None:
        """A new certificate when it is time, or when the callers' authorities changed."""
        callers = None if self._watched is None else self._watched()
        if callers is not None:
            self._client_ca = callers[0]
        now = self._now()
        if callers is None and self._until is not None and now < self._until:
            return None
        self._until = now + RENEWED_AFTER
        return self._made(now)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock().ns // 10**9, UTC)

    def _made(self, now: datetime) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder("Gatewright server", self.authority.subject, key.public_key(), now, SERVER_TIME)
            .add_extension(x509.SubjectAlternativeName(self._names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        leaf = builder.sign(self._key, hashes.SHA256())
        return Identity(
            chain=leaf.public_bytes(Encoding.PEM) + self.authority.public_bytes(Encoding.PEM),
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            client_ca=self._client_ca,
            files=self._files,
        )

    def _kept_authority(self) -> x509.Certificate:
        """The authority's certificate, made where there is none, and anew when it would end too soon."""
        if not self.path.exists():
            with suppress(Misuse):  # another worker was first
                create_exclusively(self.path, self._new_authority(), PUBLIC_FILE)
        found = self._read_authority()
        if found.not_valid_after_utc < self._now() + SERVER_TIME:
            write_atomically(self.path, self._new_authority(), PUBLIC_FILE)
            found = self._read_authority()
        return found

    def _read_authority(self) -> x509.Certificate:
        try:
            found = x509.load_pem_x509_certificate(read_file(self.path, limit=FILE_BYTES))
        except ValueError:
            found = None
        if found is None or found.public_key() != self._key.public_key():
            raise BadInput(
                "assembly.tls-authority",
                f"{self.path.name} is not the certificate of this home's authority.",
                next="Delete it: it is made anew from the key in the home.",
                place=str(self.path),
            )
        return found

    def _new_authority(self) -> bytes:
        public = self._key.public_key()
        text = f"Gatewright home {x509.SubjectKeyIdentifier.from_public_key(public).digest.hex()[:12]}"
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
        builder = (
            _builder(text, name, public, self._now(), AUTHORITY_TIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def home_identity(
    folder: Path, keys: KeyFolder, names: tuple[str, ...], *, client_ca: Path | None, told: bool
) -> HomeCertificates:
    """The home's certificates by the clock of this machine; ``told``: say on stderr how callers trust them."""
    made = HomeCertificates(folder, keys, names, clock=lambda: Instant(time.time_ns()), client_ca=client_ca)
    if told:
        sys.stderr.write(
            HOW_TO_TRUST.format(path=made.path, name=made.path.name, fingerprint=made.fingerprint)
        )
    return made


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    found = load_pem_private_key(pem, None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise BadInput("assembly.tls-authority-key", "The key of the home's authority is not a P-256 key.")
    return found


def _builder(
    subject: str, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, time: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACK)
        .not_valid_after(now + time)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.GeneralName:
    """An address or a host name, as a certificate carries it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        pass
    if not _HOST.fullmatch(text.lower()):
        raise BadInput(
            "assembly.host-name",
            f"{text!r} is not a host name that a certificate can carry.",
            why="It is made of letters of a to z, digits, hyphens and dots.",
            next="Write it as callers do, without scheme and port.",
        )
    return x509.DNSName(text.lower())
