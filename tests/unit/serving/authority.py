"""Certificates for tests: an authority, and what it signs."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatewright.serving.certificates import Identity

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
DAY = timedelta(days=1)


def key_pem(key: Any) -> bytes:
    """PKCS#8, not encrypted."""
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Authority:
    """A certificate authority in memory."""

    title: str = "Test authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        now = datetime.now(UTC)
        made = self._builder(_name(self.title), self.key.public_key(), now - DAY, now + 10 * DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _builder(
        self, name: x509.Name, public: Any, start: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(_name(self.title))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )

    def issue(
        self,
        *names: str,
        key: Any = None,
        use: x509.ObjectIdentifier = SERVER,
        start: timedelta = -DAY,
        end: timedelta = DAY,
    ) -> tuple[bytes, bytes]:
        """A certificate and its private key, both PEM, for host names and addresses."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        found: list[x509.GeneralName] = []
        for each in names:
            try:
                found.append(x509.IPAddress(ipaddress.ip_address(each)))
            except ValueError:
                found.append(x509.DNSName(each))
        made = self._builder(_name(names[0]), key.public_key(), now + start, now + end)
        made = made.add_extension(x509.SubjectAlternativeName(found), critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM), key_pem(key)

    def identity(self, *names: str, client_ca: bytes | None = None, **values: Any) -> Identity:
        """The same as a server's identity; for ``localhost`` where nothing is named."""
        chain, key = self.issue(*(names or ("localhost", "127.0.0.1")), **values)
        return Identity(chain=chain, key=key, client_ca=client_ca)


def self_signed(key: Any, name: str = "localhost") -> bytes:
    """A certificate that a key signs for itself, PEM."""
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    raw = isinstance(key, ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey)
    return made.sign(key, None if raw else hashes.SHA256()).public_bytes(Encoding.PEM)


@dataclass(frozen=True)
class Files:
    """Where a server's certificate lies."""

    folder: Path

    @property
    def chain(self) -> Path:
        """The certificate."""
        return self.folder / "chain.pem"

    @property
    def key(self) -> Path:
        """Its key."""
        return self.folder / "key.pem"

    def write(self, chain: bytes, key: bytes) -> None:
        """Swap both by rename, one after the other."""
        for path, content in ((self.chain, chain), (self.key, key)):
            part = path.with_suffix(".part")
            part.touch(0o600)
            part.write_bytes(content)
            part.replace(path)
