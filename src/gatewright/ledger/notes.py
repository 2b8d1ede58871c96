"""The keys that sign notes, in every form that a log of ours meets, and witnesses' cosignatures.

https://c2sp.org/signed-note gives a public key one line of text, the *verifier key*::

    <name>+<8 hexadecimal characters of the key id>+<base64 of type and key>

| type | key | signs |
|---|---|---|
| 0x01 | Ed25519, 32 bytes | the text of any note |
| 0x04 | Ed25519, 32 bytes | a checkpoint with a time (``cosignature/v1``) |
| 0x06 | ML-DSA-44, 1,312 bytes | a checkpoint's origin, size and root with a time and the signer's name |

The last two are those of https://c2sp.org/tlog-cosignature; with them the signature in the line is
the time (POSIX seconds, eight bytes, the highest first) and then the key's own signature. C2SP
assigns no other type to ML-DSA, so this is how a log signs with it too. The Ed25519 form does not
name the signer: a witness needs a key of its own for it.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from gatewright.kernel.errors import BadInput, GatewrightError
from gatewright.ledger.checkpoints import (
    KEY_ID_BYTES,
    Note,
    NoteSignature,
    canonical_base64,
    good_name,
    read_checkpoint_text,
    require_signed,
)

TIME_LIMIT = 2**63
LABEL = b"subtree/v1\n\x00"
NAME_BYTES = 255

_U64 = struct.Struct(">Q")


class SignatureType(IntEnum):
    """The signature types of C2SP signed-note that are known here."""

    ED25519 = 0x01
    ED25519_COSIGNATURE = 0x04
    ML_DSA_44_COSIGNATURE = 0x06


_KEY_BYTES = {
    SignatureType.ED25519: 32,
    SignatureType.ED25519_COSIGNATURE: 32,
    SignatureType.ML_DSA_44_COSIGNATURE: 1_312,
}


def _bad_key(why: str) -> BadInput:
    return BadInput("ledger.verifier-key", "The text is not a verifier key of a note.", why=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKey:
    """A public key with its name and signature type. Law: ``NoteKey.parse(k.text()) == k``.

    Raises BadInput for a name that cannot stand in a note and a key of the wrong length.
    """

    name: str
    type: SignatureType
    raw: bytes

    def __post_init__(self) -> None:
        if not good_name(self.name) or len(self.name.encode()) > NAME_BYTES:
            raise _bad_key(f"{self.name[:80]!r} cannot name a key.")
        if len(self.raw) != _KEY_BYTES[self.type]:
            raise _bad_key(f"A key of type {self.type:#04x} has {_KEY_BYTES[self.type]:,} bytes.")

    @property
    def id(self) -> bytes:
        """The four bytes that signature lines carry."""
        whole = self.name.encode() + b"\n" + bytes((self.type,)) + self.raw
        return sha256(whole).digest()[:KEY_ID_BYTES]

    def text(self) -> str:
        """The verifier key, one line without its end."""
        key = base64.b64encode(bytes((self.type,)) + self.raw).decode()
        return f"{self.name}+{self.id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Read a verifier key; raises BadInput for anything that :meth:`text` would not write."""
        name, _, rest = text.partition("+")
        data = canonical_base64(rest.partition("+")[2])
        if not data or data[0] not in set(SignatureType):
            raise _bad_key("It must be name+id+base64, of type 0x01, 0x04 or 0x06.")
        key = cls(name=name, type=SignatureType(data[0]), raw=data[1:])
        if key.text() != text:
            raise _bad_key("Its id is not that of its name, type and key.")
        return key

    def message(self, text: bytes, time: int = 0) -> bytes:
        """The bytes that this key signs for the note ``text``; ``time`` in POSIX seconds, for cosignatures.

        Raises BadInput where a cosignature is asked for something that is no checkpoint, or for an
        impossible time.
        """
        if self.type is SignatureType.ED25519:
            return text
        head = read_checkpoint_text(text)
        origin = head.origin.encode()
        if not 0 <= time < TIME_LIMIT or len(origin) > NAME_BYTES:
            raise BadInput("ledger.cosignature", "This time or origin cannot be cosigned.")
        if self.type is SignatureType.ED25519_COSIGNATURE:
            return f"cosignature/v1\ntime {time}\n".encode() + text
        name = self.name.encode()
        about = bytes((len(name),)) + name + _U64.pack(time) + bytes((len(origin),)) + origin
        return LABEL + about + _U64.pack(0) + _U64.pack(head.size) + head.root

    def line(self, signature: bytes, time: int = 0) -> NoteSignature:
        """The signature line for a signature over :meth:`message` of the same ``time``."""
        stamp = b"" if self.type is SignatureType.ED25519 else _U64.pack(time)
        return NoteSignature(name=self.name, key_id=self.id, signature=stamp + signature)

    def verifies(self, signature: bytes, text: bytes) -> bool:
        """Whether a line's signature, the time included, is this key's for the note ``text``."""
        try:
            if self.type is SignatureType.ED25519:
                Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text)
                return True
            message, own = self.message(text, cosigned_at(signature)), signature[_U64.size :]
            if self.type is SignatureType.ED25519_COSIGNATURE:
                Ed25519PublicKey.from_public_bytes(self.raw).verify(own, message)
            else:
                MLDSA44PublicKey.from_public_bytes(self.raw).verify(own, message)
        except (InvalidSignature, ValueError, GatewrightError):
            return False
        return True


def cosigned_at(signature: bytes) -> int:
    """The time in a cosignature, POSIX seconds. Raises BadInput when there is none."""
    if len(signature) <= _U64.size or signature[0] & 0x80:
        raise BadInput("ledger.cosignature", "The cosignature does not begin with a time.")
    return int(_U64.unpack_from(signature)[0])


def add_signatures(note: Note, lines: Sequence[NoteSignature]) -> Note:
    """The note with more signature lines; one that is there already is not repeated."""
    fresh = tuple(line for line in dict.fromkeys(lines) if line not in note.signatures)
    return Note(text=note.text, signatures=note.signatures + fresh)


def signed_by(data: bytes, keys: Sequence[NoteKey]) -> tuple[NoteKey, ...]:
    """Which of the known keys signed a note, each once, in the order of its lines.

    Raises BadInput for a malformed note, Tampered when the signature of a known key does not hold or
    no known key signed.
    """
    held = [verifier for verifier, _ in require_signed(Note.decode(data), keys)]
    return tuple(dict.fromkeys(held))
