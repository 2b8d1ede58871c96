"""Public keys: three algorithms, one form each."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatewright.kernel.errors import BadInput
from gatewright.releases.keys import Algorithm, PublicKey
from unit.releases.workshop import MemorySigner, ed, ml_dsa, p256

_SPKI = PublicFormat.SubjectPublicKeyInfo


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [(p256, Algorithm.ECDSA_P256), (ed, Algorithm.ED25519), (ml_dsa, Algorithm.ML_DSA_65)],
)
def test_each_algorithm_verifies_its_own_signatures(make: type, algorithm: Algorithm) -> None:
    """A key of each algorithm verifies what its private half signed, and no other message."""
    signer: MemorySigner = make()
    signature = signer.sign(b"message")
    assert algorithm is signer.public.algorithm
    assert signer.public.verifies(signature, b"message")
    assert not signer.public.verifies(signature, b"another")
    assert not signer.public.verifies(b"", b"message")


@pytest.mark.parametrize("make", [p256, ed, ml_dsa])
def test_text_form_round_trips(make: type) -> None:
    """The text form of a key reads back as the same key with the same id."""
    key = make().public
    assert key == PublicKey.from_text(key.text())
    assert 32 == len(key.id)


def _bare(octets: bytes) -> bytes:
    """A P-256 SubjectPublicKeyInfo around the given encoding of its point."""
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    bits = b"\x03" + bytes([len(octets) + 1]) + b"\0" + octets
    return b"\x30" + bytes([len(algorithm) + len(bits)]) + algorithm + bits


def test_second_der_form_of_a_key_is_refused() -> None:
    """A key whose point is compressed would have a second id, so it is refused."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    whole = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    short = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    assert public.public_bytes(Encoding.DER, _SPKI) == PublicKey.from_der(_bare(whole)).der
    with pytest.raises(BadInput, match="one DER form"):
        PublicKey.from_der(_bare(short))


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30",
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.DER, _SPKI),
        ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(Encoding.DER, _SPKI),
    ],
    ids=["empty", "cut", "rsa", "p384"],
)
def test_other_keys_are_refused(der: bytes) -> None:
    """Anything but the three algorithms is refused."""
    with pytest.raises(BadInput, match="not a P-256, Ed25519, ML-DSA-44 or ML-DSA-65"):
        PublicKey.from_der(der)


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1], lambda t: t + "\n", lambda t: "é" + t, lambda t: "*" + t]
)
def test_text_that_is_not_standard_base64_is_refused(spoil: object) -> None:
    """The text form has one spelling."""
    assert callable(spoil)
    with pytest.raises(BadInput):
        PublicKey.from_text(spoil(p256().public.text()))
