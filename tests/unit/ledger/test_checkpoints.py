"""Checkpoints and signed notes: published examples, every rule of the standards, and forgeries."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput, GatewrightError, Tampered
from gatewright.ledger.checkpoints import (
    NOTE_BYTES,
    NOTE_SIGNATURES,
    TREE_SIZE,
    Checkpoint,
    Note,
    NoteSignature,
    checkpoint_text,
    key_id,
    note_with_signature,
    open_checkpoint,
    open_note,
    read_checkpoint_text,
)
from gatewright.ledger.tree import EMPTY_ROOT
from gatewright.releases.keys import PublicKey
from gatewright.testing.signers import SeedSigner

# The example of golang.org/x/mod/sumdb/note: a verifier key, and what it signed.
EXAMPLE_NAME = "example.com/foo"
EXAMPLE_KEY = base64.b64decode("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
EXAMPLE_SIGNATURE = (
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
)
EXAMPLE_TEXT = b"This is an example message.\n"

# The example of the C2SP tlog-checkpoint standard.
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
).encode()

ORIGIN = "example.com/log"
LOG = SeedSigner("log")
OTHER = SeedSigner("other")
TEXT = checkpoint_text(ORIGIN, 7, EMPTY_ROOT)
NOTE = note_with_signature(TEXT, ORIGIN, LOG.public, LOG.sign(TEXT))


def example_key() -> PublicKey:
    """The key of the published example."""
    key = Ed25519PublicKey.from_public_bytes(EXAMPLE_KEY[1:])
    return PublicKey.from_der(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def line(signer: SeedSigner, text: bytes, name: str) -> bytes:
    """One signature line over ``text``."""
    return note_with_signature(text, name, signer.public, signer.sign(text)).removeprefix(text + b"\n")


def test_the_published_note_verifies() -> None:
    """The published example is written and opened with its published key, and its key id is the published one."""
    key = example_key()
    note = EXAMPLE_TEXT + f"\n\u2014 {EXAMPLE_NAME} {EXAMPLE_SIGNATURE}\n".encode()
    signature = base64.b64decode(EXAMPLE_SIGNATURE)
    assert EXAMPLE_TEXT == open_note(note, [(EXAMPLE_NAME, key)])
    assert "530d903a" == key_id(EXAMPLE_NAME, key).hex()
    assert note == note_with_signature(EXAMPLE_TEXT, EXAMPLE_NAME, key, signature[4:])


def test_the_published_checkpoint_is_read() -> None:
    """The example of the checkpoint standard has the origin, size and root that stand in it."""
    head = read_checkpoint_text(Note.decode(SOFA).text)
    assert ("example.com/behind-the-sofa", 20_852_163, "0ac5186a") == (
        head.origin,
        head.size,
        head.root.hex()[:8],
    )
    assert Note.decode(SOFA).text == checkpoint_text(head.origin, head.size, head.root)
    assert SOFA == Note.decode(SOFA).encode()


def test_a_key_id_is_the_standards_hash() -> None:
    """A key id is the first four bytes of the hash over name, newline, type and key."""
    expected = sha256(b"n\n\x01" + LOG.public.raw()).digest()[:4]
    assert expected == key_id("n", LOG.public)


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="+"), min_size=1, max_size=20
    ),
    st.integers(0, TREE_SIZE),
    st.binary(min_size=32, max_size=32),
)
def test_what_was_signed_is_opened(origin: str, size: int, root: bytes) -> None:
    """A signed head opens with its key and origin to what was signed."""
    text = checkpoint_text(origin, size, root)
    note = note_with_signature(text, origin, LOG.public, LOG.sign(text))
    assert Checkpoint(origin=origin, size=size, root=root) == open_checkpoint(
        note, origin=origin, key=LOG.public
    )


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(index: int, change: int) -> None:
    """A signed head with one byte changed is never opened."""
    changed = bytearray(NOTE)
    changed[index] ^= change
    with pytest.raises(GatewrightError):
        open_checkpoint(bytes(changed), origin=ORIGIN, key=LOG.public)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused(data: bytes) -> None:
    """Bytes that nobody signed are refused, never anything worse."""
    with pytest.raises(GatewrightError):
        open_checkpoint(data, origin=ORIGIN, key=LOG.public)


def test_another_key_is_refused() -> None:
    """A head that the known key did not sign is Tampered."""
    with pytest.raises(Tampered, match="No known key"):
        open_checkpoint(NOTE, origin=ORIGIN, key=OTHER.public)


def test_another_origin_is_refused_by_name() -> None:
    """A head of another log is Tampered and names both logs."""
    with pytest.raises(Tampered, match=r"'example\.com/log', not to 'example\.com/other'"):
        open_checkpoint(NOTE, origin="example.com/other", key=LOG.public)


def test_unknown_keys_are_ignored() -> None:
    """Signatures of strangers beside a known one do not matter, even under the known name or id."""
    mine = line(LOG, TEXT, ORIGIN)
    stranger = line(OTHER, TEXT, ORIGIN)
    same_id = mine.replace(ORIGIN.encode(), b"example.com/another")
    assert NOTE.startswith(TEXT + b"\n")
    assert 7 == open_checkpoint(TEXT + b"\n" + stranger + same_id + mine, origin=ORIGIN, key=LOG.public).size


def test_a_known_signature_that_fails_rejects_the_note() -> None:
    """One bad signature of a known key rejects the note, though another one holds."""
    bad = line(LOG, b"another text\n", ORIGIN)
    for lines in (line(LOG, TEXT, ORIGIN) + bad, bad + line(LOG, TEXT, ORIGIN)):
        with pytest.raises(Tampered, match="does not match"):
            open_note(TEXT + b"\n" + lines, [(ORIGIN, LOG.public)])
    other_bad = line(OTHER, b"another text\n", "example.com/other")
    known = [(ORIGIN, LOG.public), ("example.com/other", OTHER.public)]
    with pytest.raises(Tampered, match=r"example\.com/other"):
        open_note(TEXT + b"\n" + line(LOG, TEXT, ORIGIN) + other_bad, known)


def test_no_keys_open_nothing() -> None:
    """Without a known key no note is believed, and two equal keys are a mistake."""
    with pytest.raises(Tampered):
        open_note(NOTE, [])
    with pytest.raises(BadInput):
        open_note(NOTE, [(ORIGIN, LOG.public), (ORIGIN, LOG.public)])


@pytest.mark.parametrize("count", [1, 16, NOTE_SIGNATURES])
def test_many_signatures_are_accepted(count: int) -> None:
    """At least sixteen signatures, up to the limit, are accepted."""
    others = b"".join(line(OTHER, TEXT, f"other-{number}") for number in range(count - 1))
    assert (
        7
        == open_checkpoint(
            TEXT + b"\n" + others + line(LOG, TEXT, ORIGIN), origin=ORIGIN, key=LOG.public
        ).size
    )


def test_too_many_signatures_are_refused() -> None:
    """One signature beyond the limit, or one byte, makes the note malformed."""
    with pytest.raises(BadInput, match="signatures"):
        Note.decode(TEXT + b"\n" + line(LOG, TEXT, ORIGIN) * (NOTE_SIGNATURES + 1))
    with pytest.raises(BadInput, match="longer"):
        Note.decode(b"x" * (NOTE_BYTES + 1))


def test_the_text_ends_at_the_last_blank_line() -> None:
    """Blank lines inside the text belong to the text."""
    text = "one\n\n\u2014 two\n\nthree\n".encode()
    note = note_with_signature(text, "n", LOG.public, LOG.sign(text))
    assert text == open_note(note, [("n", LOG.public)])


SIGNED = line(LOG, TEXT, ORIGIN)
BASE64 = SIGNED.split(b" ")[2].rstrip()
DASH = "\u2014 ".encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT,
        TEXT + b"\n",
        TEXT + SIGNED,
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + b"Unexpected line.\n",
        b"\x01" + NOTE,
        b"\xff" + NOTE,
        NOTE.replace(b"\n", b"\r\n"),
        NOTE.replace(b"example.com", b"example\t.com"),
        NOTE.replace(DASH, b"- "),
        NOTE.replace(DASH, DASH[:-1]),
        TEXT + b"\n" + DASH + BASE64 + b"\n",
        TEXT + b"\n" + DASH + b" " + BASE64 + b"\n",
        TEXT + b"\n" + DASH + b"bad name " + BASE64 + b"\n",
        TEXT + b"\n" + DASH + "bad\u00a0name ".encode() + BASE64 + b"\n",
        TEXT + b"\n" + DASH + "bad\u2028name ".encode() + BASE64 + b"\n",
        TEXT + b"\n" + DASH + b"bad+name " + BASE64 + b"\n",
        TEXT + b"\n" + DASH + b"n \n",
        TEXT + b"\n" + DASH + b"n AAAA\n",
        TEXT + b"\n" + DASH + b"n AAAAAA==\n",
        TEXT + b"\n" + DASH + b"n AAAAAAB=\n",
        TEXT + b"\n" + DASH + b"n AAAAAAA\n",
        TEXT + b"\n" + DASH + b"n AAAAAA_-\n",
        TEXT + b"\n" + DASH + b"n  " + BASE64 + b"\n",
        TEXT + b"\n" + DASH + b"n " + BASE64 + b" \n",
    ],
)
def test_malformed_notes_are_refused(data: bytes) -> None:
    """What breaks a rule of the signed note is BadInput."""
    with pytest.raises(BadInput):
        Note.decode(data)


@pytest.mark.parametrize("text", [b"no newline", b"", b"\x00\n", b"\xff\n"])
def test_texts_that_cannot_be_notes_are_not_signed(text: bytes) -> None:
    """A text that would be read differently is refused before it becomes a note."""
    with pytest.raises(BadInput):
        note_with_signature(text, "n", LOG.public, bytes(64))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u3000b", "a\nb"])
def test_names_that_cannot_stand_in_a_note_are_refused(name: str) -> None:
    """A key name or origin with spaces, plus signs or nothing at all is BadInput."""
    with pytest.raises(BadInput):
        key_id(name, LOG.public)
    with pytest.raises(BadInput):
        checkpoint_text(name, 0, EMPTY_ROOT)


def test_only_ed25519_signs_checkpoints() -> None:
    """A key of another algorithm is refused by name, not used."""
    spki = generate_private_key(SECP256R1()).public_key()
    key = PublicKey.from_der(spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(BadInput, match="Ed25519"):
        key_id("n", key)


ROOT = base64.b64encode(EMPTY_ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"log\n0\n{ROOT}",
        f"\n0\n{ROOT}\n",
        f"log\n0\n{ROOT}\nextension\n",
        f"log\n0\n{ROOT}\n\n",
        f"log\n\n{ROOT}\n",
        f"log\n07\n{ROOT}\n",
        f"log\n00\n{ROOT}\n",
        f"log\n-1\n{ROOT}\n",
        f"log\n+1\n{ROOT}\n",
        f"log\n 1\n{ROOT}\n",
        f"log\n1.0\n{ROOT}\n",
        f"log\n0x1\n{ROOT}\n",
        f"log\n\u0661\n{ROOT}\n",
        f"log\n{TREE_SIZE + 1}\n{ROOT}\n",
        f"log\n{'9' * 5000}\n{ROOT}\n",
        f"log\n0\n{ROOT[:-1]}\n",
        f"log\n0\n{ROOT[:-2]}V=\n".replace("V=", "W="),
        "log\n0\nAAAA\n",
        "log\n0\n\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    """What breaks a rule of the checkpoint, extension lines included, is BadInput."""
    with pytest.raises(BadInput):
        read_checkpoint_text(text.encode())


@pytest.mark.parametrize(("size", "root"), [(-1, EMPTY_ROOT), (TREE_SIZE + 1, EMPTY_ROOT), (0, b"short")])
def test_impossible_heads_are_not_written(size: int, root: bytes) -> None:
    """A negative or too large size, or a root of another length, is BadInput."""
    with pytest.raises(BadInput):
        checkpoint_text("log", size, root)


def test_a_note_with_a_known_key_but_no_checkpoint_is_refused() -> None:
    """A signed text that is no checkpoint is BadInput, though its signature holds."""
    text = f"{ORIGIN}\nnot a size\n".encode()
    note = Note(
        text=text,
        signatures=(NoteSignature(name=ORIGIN, key_id=key_id(ORIGIN, LOG.public), signature=LOG.sign(text)),),
    )
    with pytest.raises(BadInput):
        open_checkpoint(note.encode(), origin=ORIGIN, key=LOG.public)
