from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from gatewright.adapters.key_files import KeyFolder
from gatewright.assembly.certificates import AUTHORITY_FILE, SERVER_TIME, HomeCertificates
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.kernel.instants import Instant
from gatewright.serving.certificates import Certificates

BEGUN = datetime(2026, 3, 3, tzinfo=UTC)


class Clock:
    """A day that a test sets."""

    def __init__(self) -> None:
        self.day = 0.0

    def __call__(self) -> Instant:
        """That day."""
        return Instant(int((BEGUN + timedelta(days=self.day)).timestamp()) * 10**9)


def made(folder: Path, clock: Clock, *names: str, passphrase: bytes | None = None) -> HomeCertificates:
    """The certificates of a home in this folder."""
    keys = KeyFolder(folder=folder / "keys", passphrase=passphrase)
    return HomeCertificates(folder, keys, names, clock=clock)


@pytest.mark.parametrize("name", ["loans.example", "a", "localhost"])
def test_an_independent_verifier_accepts_them(tmp_path: Path, name: str) -> None:
    """The library's own path validation takes the chain for each name, at any time until it is renewed."""
    clock = Clock()
    found = made(tmp_path, clock, "loans.example", "a", "10.0.0.7")
    identity = found()
    assert identity is not None
    leaf, authority = x509.load_pem_x509_certificates(identity.chain)
    for day in (0, 15, 29):
        verifier = (
            PolicyBuilder()
            .store(Store([authority]))
            .time(BEGUN + timedelta(days=day))
            .build_server_verifier(x509.DNSName(name))
        )
        assert [leaf, authority] == verifier.verify(leaf, [])
    assert authority == x509.load_pem_x509_certificate((tmp_path / AUTHORITY_FILE).read_bytes())


def test_a_certificate_is_made_anew_before_a_third_of_its_time_is_left(tmp_path: Path) -> None:
    """In use it is renewed by itself, in time: nobody is told that it ends soon."""
    clock, told = Clock(), []
    certificates = Certificates(made(tmp_path, clock, "a"), clock=clock, tell=told.append)
    renewed = []
    for day in range(100):
        clock.day = day
        if certificates.refresh():
            renewed.append(day)
    assert [19, 38, 57, 76, 95] == renewed
    assert [] == told


def test_the_authority_stays_until_it_would_end(tmp_path: Path) -> None:
    """A second worker, and a later one, use the same; shortly before its end there is a new one of the same key."""
    clock = Clock()
    first, second = made(tmp_path, clock, "a"), made(tmp_path, clock, "a")
    clock.day = 3_650 - SERVER_TIME.days + 1
    last = made(tmp_path, clock, "a")
    assert first.fingerprint == second.fingerprint != last.fingerprint
    assert first.authority.public_key() == last.authority.public_key()


def test_the_authority_of_another_home_is_refused(tmp_path: Path) -> None:
    """A certificate of another key in its place is not handed to callers."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        made(tmp_path / name, Clock(), "a")
    (tmp_path / "there" / AUTHORITY_FILE).replace(tmp_path / "here" / AUTHORITY_FILE)
    with pytest.raises(BadInput) as caught:
        made(tmp_path / "here", Clock(), "a")
    assert "assembly.tls-authority" == caught.value.code


def test_its_key_is_encrypted_where_the_home_has_a_passphrase(tmp_path: Path) -> None:
    """The authority's key lies as the home's other keys do, and opens with the passphrase alone."""
    made(tmp_path, Clock(), "a", passphrase=b"a long passphrase")
    kept = (tmp_path / "keys" / "tls-authority-p256.pem").read_bytes()
    with pytest.raises(Misuse):
        made(tmp_path, Clock(), "a")
    assert b"PRIVATE KEY" not in kept
    assert made(tmp_path, Clock(), "a", passphrase=b"a long passphrase")() is not None


@pytest.mark.parametrize("name", ["", "no name", "*.example", "a..b", "-a", "häuser.example", "a/b", "a:1"])
def test_names_that_no_certificate_carries_are_refused(tmp_path: Path, name: str) -> None:
    """A name is a host name in ASCII or an address: no wildcard, no port, no path."""
    with pytest.raises(BadInput) as caught:
        made(tmp_path, Clock(), name)
    assert "assembly.host-name" == caught.value.code
