"""Keys of notes: published examples, every signature type, and what must not be read or believed."""

from __future__ import annotations

import base64
from contextlib import suppress
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput, Tampered
from gatewright.ledger.checkpoints import (
    Note,
    NoteSignature,
    checkpoint_text,
    note_with_signature,
    open_checkpoint,
)
from gatewright.ledger.notes import (
    LABEL,
    TIME_LIMIT,
    NoteKey,
    SignatureType,
    add_signatures,
    cosigned_at,
    signed_by,
)
from gatewright.ledger.tree import EMPTY_ROOT
from gatewright.testing.signers import SeedSigner

# The examples of the C2SP standards signed-note and tlog-cosignature.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
SOFA_TEXT = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
SOFA_NOTE = (
    SOFA_TEXT
    + (
        "\n\u2014 example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "\u2014 witness.example.com/w1 "
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    ).encode()
)

ORIGIN = "example.com/log"
TEXT = checkpoint_text(ORIGIN, 7, EMPTY_ROOT)
LOG = SeedSigner("log")
WITNESS = SeedSigner("witness")
LATTICE = MLDSA44PrivateKey.from_seed_bytes(bytes(32))
TIME = 1_772_546_700

LOG_KEY = NoteKey(name=ORIGIN, type=SignatureType.ED25519, raw=LOG.public.raw())
WITNESS_KEY = NoteKey(
    name="witness.example.com/w1", type=SignatureType.ED25519_COSIGNATURE, raw=WITNESS.public.raw()
)
LATTICE_KEY = NoteKey(
    name=ORIGIN, type=SignatureType.ML_DSA_44_COSIGNATURE, raw=LATTICE.public_key().public_bytes_raw()
)
KEYS = (LOG_KEY, WITNESS_KEY, LATTICE_KEY)


def three_lines(text: bytes = TEXT, time: int = TIME) -> tuple[NoteSignature, ...]:
    """The log's two signatures and a witness's, over ``text``."""
    return (
        LOG_KEY.line(LOG.sign(LOG_KEY.message(text))),
        LATTICE_KEY.line(LATTICE.sign(LATTICE_KEY.message(text, time)), time),
        WITNESS_KEY.line(WITNESS.sign(WITNESS_KEY.message(text, time)), time),
    )


NOTE = Note(text=TEXT, signatures=three_lines())


def test_the_published_verifier_key_opens_the_published_note() -> None:
    """The key of the signed-note standard is read, written back, and verifies the note beside it."""
    key = NoteKey.parse(EXAMPLE_KEY)
    assert EXAMPLE_KEY == key.text()
    assert (key,) == signed_by(EXAMPLE_NOTE, [key])
    with pytest.raises(Tampered):
        signed_by(EXAMPLE_NOTE.replace(b"example message", b"exemple message"), [key])


def test_the_published_cosignature_has_its_published_time() -> None:
    """The witness line of the cosignature standard states the time that stands in its signed message."""
    line = Note.decode(SOFA_NOTE).signatures[1]
    assert ("witness.example.com/w1", 1_679_315_147) == (line.name, cosigned_at(line.signature))
    assert b"cosignature/v1\ntime 1679315147\n" + SOFA_TEXT == WITNESS_KEY.message(SOFA_TEXT, 1_679_315_147)


def test_the_lattice_message_is_the_standards_structure() -> None:
    """What ML-DSA-44 signs is label, name, time, origin, zero, size and root, lengths and numbers in front."""
    name = ORIGIN.encode()
    expected = (
        b"subtree/v1\n\0"
        + bytes([len(name)])
        + name
        + TIME.to_bytes(8, "big")
        + bytes([len(name)])
        + name
        + bytes(8)
        + (7).to_bytes(8, "big")
        + EMPTY_ROOT
    )
    assert expected == LATTICE_KEY.message(TEXT, TIME)
    assert 12 == len(LABEL)


@pytest.mark.parametrize("key", KEYS)
def test_key_ids_are_the_standards_hash(key: NoteKey) -> None:
    """An id is the first four bytes of the hash over name, newline, type and key."""
    expected = sha256(key.name.encode() + b"\n" + bytes([key.type]) + key.raw).digest()[:4]
    assert expected == key.id
    assert key == NoteKey.parse(key.text())


def test_three_kinds_of_signatures_stand_side_by_side() -> None:
    """Ed25519, ML-DSA-44 and a witness's cosignature hold on one note, which the log's key alone opens too."""
    data = NOTE.encode()
    assert {key.id for key in KEYS} == {key.id for key in signed_by(data, KEYS)}
    assert 7 == open_checkpoint(data, origin=ORIGIN, key=LOG.public).size
    assert (LATTICE_KEY,) == signed_by(data, [LATTICE_KEY])


@pytest.mark.parametrize("place", range(3))
@given(data=st.data())
def test_any_changed_bit_of_a_signature_rejects_the_note(place: int, data: st.DataObject) -> None:
    """One flipped bit in the signature or time of a known key rejects the note, though the others hold."""
    line = NOTE.signatures[place]
    at = data.draw(st.integers(0, len(line.signature) * 8 - 1))
    changed = bytearray(line.signature)
    changed[at // 8] ^= 1 << at % 8
    bad = NoteSignature(name=line.name, key_id=line.key_id, signature=bytes(changed))
    lines = tuple(bad if number == place else each for number, each in enumerate(NOTE.signatures))
    with pytest.raises(Tampered):
        signed_by(Note(text=TEXT, signatures=lines).encode(), KEYS)


@pytest.mark.parametrize(
    "text",
    [
        checkpoint_text(ORIGIN, 8, EMPTY_ROOT),
        checkpoint_text("example.com/other", 7, EMPTY_ROOT),
        checkpoint_text(ORIGIN, 7, bytes(32)),
        b"no checkpoint\n",
    ],
)
def test_signatures_belong_to_their_checkpoint(text: bytes) -> None:
    """Lines moved to another head, another log or another text hold for none of the keys."""
    moved = Note(text=text, signatures=NOTE.signatures).encode()
    for key in KEYS:
        with pytest.raises(Tampered):
            signed_by(moved, [key])


def test_the_lattice_signature_names_its_signer() -> None:
    """The same ML-DSA-44 key under another name did not sign."""
    other = NoteKey(name="example.com/other", type=LATTICE_KEY.type, raw=LATTICE_KEY.raw)
    line = NOTE.signatures[1]
    renamed = NoteSignature(name=other.name, key_id=other.id, signature=line.signature)
    with pytest.raises(Tampered):
        signed_by(Note(text=TEXT, signatures=(renamed,)).encode(), [other])


def test_a_plain_signature_is_no_cosignature() -> None:
    """A signature of one type under the id of another does not hold, whoever's key it is."""
    as_witness = NoteKey(name=ORIGIN, type=SignatureType.ED25519_COSIGNATURE, raw=LOG_KEY.raw)
    plain = LOG.sign(TEXT)
    for signature in (plain, TIME.to_bytes(8, "big") + plain):
        assert not as_witness.verifies(signature, TEXT)
    assert not LOG_KEY.verifies(NOTE.signatures[2].signature, TEXT)


def test_lines_are_added_once() -> None:
    """A witness's line joins those that are there; given again, nothing changes."""
    alone = Note.decode(note_with_signature(TEXT, ORIGIN, LOG.public, LOG.sign(TEXT)))
    grown = add_signatures(alone, NOTE.signatures[2:])
    assert (ORIGIN, WITNESS_KEY.name) == tuple(line.name for line in grown.signatures)
    assert grown == add_signatures(grown, NOTE.signatures[2:] * 2)


@pytest.mark.parametrize("signature", [b"", bytes(8), b"\x80" + bytes(80), b"\xff" * 72])
def test_impossible_times_are_refused(signature: bytes) -> None:
    """A cosignature without a time, without a signature after it, or beyond 2**63 - 1 is BadInput."""
    with pytest.raises(BadInput):
        cosigned_at(signature)
    assert not WITNESS_KEY.verifies(signature, TEXT)


@pytest.mark.parametrize("time", [-1, TIME_LIMIT])
def test_impossible_times_are_not_signed(time: int) -> None:
    """Nothing is cosigned for a time that the format cannot state, nor for a text that is no checkpoint."""
    with pytest.raises(BadInput):
        LATTICE_KEY.message(TEXT, time)
    with pytest.raises(BadInput):
        WITNESS_KEY.message(b"no checkpoint\n", TIME)


NAME, ID, KEY = EXAMPLE_KEY.split("+", 2)


def typed(number: int) -> str:
    """Base64 of a key of 32 bytes under a signature type."""
    return base64.b64encode(bytes([number, *range(32)])).decode()


@pytest.mark.parametrize(
    "text",
    [
        "", "+", "++", NAME, f"{NAME}+{ID}", f"{NAME}+{ID}+", f"{NAME}+{ID}+AQ==", f"+{ID}+{KEY}",
        f"{NAME}x+{ID}+{KEY}", f"{NAME}+{ID.upper()}+{KEY}", f"{NAME}+530d903b+{KEY}", f"{NAME}+0{ID}+{KEY}",
        f"{NAME}+{ID}+{KEY}=", f"{NAME}+{ID}+{KEY[:-1]}l", f"{NAME}+{ID}+{KEY}\n", f" {EXAMPLE_KEY}",
        f"{NAME}+{ID}+{typed(2)}",
        f"{NAME}+{ID}+{typed(6)}",
        f"{'x' * 256}+{ID}+{KEY}",
    ],
)  # fmt: skip
def test_malformed_verifier_keys_are_refused(text: str) -> None:
    """A verifier key has one spelling; anything else is BadInput."""
    with pytest.raises(BadInput):
        NoteKey.parse(text)


@given(
    st.text(max_size=60)
    | st.binary(max_size=60).map(lambda raw: f"n+{raw[:4].hex()}+{base64.b64encode(raw).decode()}")
)
def test_any_text_gives_a_key_or_bad_input(text: str) -> None:
    """No text makes reading a verifier key fail in another way."""
    with suppress(BadInput):
        assert text == NoteKey.parse(text).text()
