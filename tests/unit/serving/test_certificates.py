from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from OpenSSL import SSL, crypto
from OpenSSL._util import lib

from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Refusal
from gatewright.kernel.instants import Instant
from gatewright.serving.certificates import (
    Certificates,
    Identity,
    WatchedFiles,
    context_of,
    identity_of_files,
)
from unit.serving.authority import Authority, Files, key_pem, self_signed
from unit.serving.test_tls import now

AUTHORITY = Authority()


def agreed(server: SSL.Context, client: SSL.Context) -> tuple[SSL.Connection, SSL.Connection]:
    """Both ends after a handshake in memory; raises SSL.Error where there is none."""
    ends = SSL.Connection(server), SSL.Connection(client)
    ends[0].set_accept_state()
    ends[1].set_connect_state()
    for _ in range(4):
        for here, there in (ends[::-1], ends):
            with suppress(SSL.WantReadError):
                here.do_handshake()
            with suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(65_536))
    return ends


def client(groups: bytes = b"", version: int = 0) -> SSL.Context:
    """What a caller offers."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version:
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if groups:
        assert lib.SSL_CTX_set1_curves_list(context._context, groups) == 1
    return context


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (b"", "X25519MLKEM768"),
        (b"X25519:X25519MLKEM768", "X25519MLKEM768"),
        (b"X25519", "x25519"),
        (b"secp256r1:X25519", "x25519"),
    ],
)
def test_the_hybrid_is_taken_wherever_the_caller_has_it(groups: bytes, expected: str) -> None:
    """Whatever the caller prefers, the hybrid is agreed on if it is offered at all; else X25519."""
    _, caller = agreed(context_of(AUTHORITY.identity()), client(groups))
    assert ("TLSv1.3", expected) == (caller.get_protocol_version_name(), caller.get_group_name())


def test_other_groups_are_not_spoken() -> None:
    """A caller that has neither is refused."""
    with pytest.raises(SSL.Error):
        agreed(context_of(AUTHORITY.identity()), client(b"secp384r1:ffdhe2048"))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65_537, 2_048),
        mldsa.MLDSA65PrivateKey.generate(),
    ],
    ids=["ECDSA", "Ed25519", "RSA", "ML-DSA"],
)
def test_keys_of_four_kinds_serve(key: Any) -> None:
    """A certificate of any of these keys is shown and verified by a caller that trusts it."""
    pem = self_signed(key)
    caller = client()
    store = caller.get_cert_store()
    assert store is not None
    store.add_cert(crypto.X509.from_cryptography(x509.load_pem_x509_certificate(pem)))
    caller.set_verify(SSL.VERIFY_PEER)
    _, end = agreed(context_of(Identity(chain=pem, key=key_pem(key))), caller)
    assert "X25519MLKEM768" == end.get_group_name()


def _encrypted(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


GOOD = AUTHORITY.identity()
OTHER = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"key": key_pem(OTHER)}, "mismatch"),
        ({"key": _encrypted(OTHER)}, "encrypted"),
        ({"key": b"nothing"}, "not a PEM key"),
        ({"chain": b"nothing"}, "no certificates"),
        ({"chain": b""}, "no certificates"),
        ({"client_ca": b"nothing"}, "no certificates"),
        ({"client_ca": b""}, "no certificates"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, bytes], why: str) -> None:
    """A chain, a key or an authority that cannot be used is refused with the reason, before anything is served."""
    with pytest.raises(BadInput) as caught:
        context_of(replace(GOOD, **change))
    assert "serving.certificate" == caught.value.code
    assert why in caught.value.refusal.why


@pytest.mark.parametrize(("start", "end"), [(-3, -1), (1, 3)])
def test_a_certificate_outside_its_time_is_refused(start: int, end: int) -> None:
    """One that has ended, or has not begun, is not served with."""
    identity = AUTHORITY.identity(start=timedelta(days=start), end=timedelta(days=end))
    with pytest.raises(BadInput):
        Certificates(lambda: identity, clock=now, tell=lambda _: None)


class Told:
    """What a person was told."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.sentences: list[str] = []

    def __call__(self, refusal: Refusal) -> None:
        """Keep the code and the words."""
        self.codes.append(refusal.code)
        self.sentences.append(refusal.sentence())


def test_the_end_is_said_once_in_time() -> None:
    """When a third of the certificate's time is left, that is said once."""
    told, at, found = Told(), [now()], [AUTHORITY.identity(end=timedelta(days=29))]  # thirty days in all
    certificates = Certificates(lambda: found.pop() if found else None, clock=lambda: at[-1], tell=told)
    codes = []
    for day in (10, 18, 20, 21):
        at.append(Instant(at[0].ns + day * 86_400 * 10**9))
        certificates.refresh()
        codes.append(len(told.codes))
    assert [0, 0, 1, 1] == codes
    assert ["serving.certificate-ends"] == told.codes


def test_files_are_taken_when_they_stand_still(tmp_path: Path) -> None:
    """A change is read at the second look that sees it, so that a pair half written is not taken."""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    watched = WatchedFiles(path)
    found = [watched(), watched()]
    path.write_bytes(b"22")
    found += [watched(), watched(), watched()]
    assert [(b"1",), None, None, (b"22",), None] == found


def test_rotation_keeps_the_old_where_the_new_is_bad(tmp_path: Path) -> None:
    """A new pair is taken; one that does not fit, or is gone, is said once and the old one stays."""
    files, told = Files(tmp_path), Told()
    files.write(*AUTHORITY.issue("first"))
    certificates = Certificates(identity_of_files(files.chain, files.key), clock=now, tell=told)

    def look() -> str:
        for _ in range(4):
            certificates.refresh()
        return certificates.leaf.subject.rfc4514_string()

    names = [look()]
    files.write(*AUTHORITY.issue("second"))
    names.append(look())
    files.write(AUTHORITY.issue("third")[0], key_pem(OTHER))
    names.append(look())
    files.key.unlink()
    names.append(look())
    files.write(*AUTHORITY.issue("fourth"))
    names.append(look())

    assert ["CN=first", "CN=second", "CN=second", "CN=second", "CN=fourth"] == names
    assert ["serving.certificate", "serving.certificate-file"] == told.codes
    for sentence in told.sentences:
        assert str(files.key) in sentence
        assert "The old certificate stays in force; it ends on 2" in sentence


def test_an_emptied_file_of_authorities_opens_nothing(tmp_path: Path) -> None:
    """When the authorities of callers vanish from their file, the old ones are still asked for."""
    files, told, callers = Files(tmp_path), Told(), tmp_path / "callers.pem"
    files.write(*AUTHORITY.issue("localhost"))
    callers.write_bytes(AUTHORITY.pem)
    source = identity_of_files(files.chain, files.key, callers)
    certificates = Certificates(source, clock=now, tell=told)
    before = certificates.context
    callers.write_bytes(b"")
    for _ in range(3):
        certificates.refresh()
    assert before is certificates.context
    assert ["serving.certificate"] == told.codes


def test_a_key_open_to_everybody_is_refused(tmp_path: Path) -> None:
    """A private key that every user may read is not used; its owner and group may."""
    files = Files(tmp_path)
    files.write(*AUTHORITY.issue("localhost"))
    files.key.chmod(0o644)
    with pytest.raises(Misuse) as caught:
        identity_of_files(files.chain, files.key)()
    files.key.chmod(0o440)
    found = identity_of_files(files.chain, files.key)()

    assert "serving.key-open" == caught.value.code
    assert found is not None


def test_without_a_first_certificate_nothing_begins(tmp_path: Path) -> None:
    """Files that are not there are named, and a source that has nothing is no source."""
    with pytest.raises(BadInput) as caught:
        Certificates(identity_of_files(tmp_path / "no", tmp_path / "none"), clock=now, tell=lambda _: None)
    with pytest.raises(GatewrightError):
        Certificates(lambda: None, clock=now, tell=lambda _: None)
    assert "serving.certificate-file" == caught.value.code
