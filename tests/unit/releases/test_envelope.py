"""DSSE envelopes: what is signed, and who signed it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput, Tampered
from gatewright.releases.envelope import (
    ENVELOPE_BYTES,
    SIGNATURES,
    Envelope,
    EnvelopeSignature,
    pae,
    require,
    sealed,
    verify,
)
from unit.releases.workshop import RELEASE_KEY, RELEASE_PQ_KEY, STRANGER, ed

_KEYS = (RELEASE_KEY.public, RELEASE_PQ_KEY.public)
_texts = st.text(st.characters(codec="utf-8"), max_size=20)
_signatures = st.builds(EnvelopeSignature, key_id=_texts, signature=st.binary(max_size=80))
_envelopes = st.builds(
    Envelope,
    payload_type=_texts,
    payload=st.binary(max_size=200),
    signatures=st.lists(_signatures, min_size=1, max_size=4).map(tuple),
)


def test_pae_is_that_of_the_specification() -> None:
    """The encoding is the example of DSSE v1.0.0, protocol.md."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert expected == pae("http://example.com/HelloWorld", b"hello world")


def test_pae_counts_bytes() -> None:
    """A payload type outside ASCII is counted in bytes, so no two inputs share an encoding."""
    assert b"DSSEv1 2 \xc3\xa9 0 " == pae("é", b"")


@given(a=st.tuples(_texts, st.binary(max_size=30)), b=st.tuples(_texts, st.binary(max_size=30)))
@settings(max_examples=100)
def test_pae_is_injective(a: tuple[str, bytes], b: tuple[str, bytes]) -> None:
    """Two encodings are equal only for equal types and payloads."""
    assert (a == b) == (pae(*a) == pae(*b))


@given(_envelopes)
@settings(max_examples=100)
def test_round_trip(envelope: Envelope) -> None:
    """What is encoded decodes as the same envelope, and has one form."""
    data = envelope.encode()
    assert envelope == Envelope.decode(data)
    assert data == Envelope.decode(data).encode()


@given(_envelopes, st.data())
@settings(max_examples=100)
def test_damaged_bytes_never_decode_as_the_same_envelope(envelope: Envelope, data: st.DataObject) -> None:
    """A changed byte is refused or gives another envelope: no two byte strings mean one envelope."""
    whole = bytearray(envelope.encode())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        found = Envelope.decode(bytes(whole))
    except BadInput:
        return
    assert envelope != found


def test_distinct_keys_are_counted_once() -> None:
    """Two signatures by one key count as one key."""
    envelope = sealed("t", b"p", (RELEASE_KEY, RELEASE_KEY, RELEASE_PQ_KEY))
    assert _KEYS == verify(envelope, _KEYS)
    assert 3 == len(envelope.signatures)


def test_signature_by_an_unknown_key_says_nothing() -> None:
    """A stranger's signature neither counts nor spoils the envelope."""
    assert () == verify(sealed("t", b"p", (STRANGER,)), _KEYS)
    assert (RELEASE_KEY.public,) == verify(sealed("t", b"p", (STRANGER, RELEASE_KEY)), _KEYS)


def test_failing_signature_of_a_known_key_is_tampering() -> None:
    """A signature that names a known key and does not hold is named by its place."""
    good = sealed("t", b"p", (STRANGER, RELEASE_KEY))
    bad = Envelope(payload_type="t", payload=b"q", signatures=good.signatures)
    with pytest.raises(Tampered) as caught:
        verify(bad, _KEYS)
    assert "signatures[1]" == caught.value.refusal.place


@pytest.mark.parametrize("signers", [(RELEASE_KEY,), (RELEASE_PQ_KEY,), (STRANGER,), (ed(),)])
def test_require_wants_every_key(signers: tuple[object, ...]) -> None:
    """One of two required signatures is not enough."""
    with pytest.raises(Tampered, match="carries no signature by"):
        require(sealed("t", b"p", signers), _KEYS)  # type: ignore[arg-type]


def test_require_of_nobody_is_refused() -> None:
    """An empty list of required keys does not pass: it would make everything signed."""
    with pytest.raises(Tampered, match="any trusted key"):
        require(sealed("t", b"p", (RELEASE_KEY,)), ())


def test_too_large_envelope_is_refused() -> None:
    """Size is looked at before anything is parsed."""
    with pytest.raises(BadInput, match="limit"):
        Envelope.decode(b"{" * (ENVELOPE_BYTES + 1))


@pytest.mark.parametrize("count", [0, SIGNATURES + 1])
def test_number_of_signatures_is_bounded(count: int) -> None:
    """No signatures and too many are both refused."""
    one = EnvelopeSignature(key_id="k", signature=b"s")
    data = Envelope(payload_type="t", payload=b"p", signatures=(one,) * count).encode()
    with pytest.raises(BadInput, match="signatures"):
        Envelope.decode(data)
