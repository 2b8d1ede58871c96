"""Signed heads: a C2SP tlog-checkpoint inside a C2SP signed note.

https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint say what is read and written here::

    <origin>
    <size>
    <base64 of the root>

    — <key name> <base64 of key id and signature>

Rules kept: UTF-8 without control characters; the text ends at the *last* blank line; a signature by
a known key that does not hold rejects the whole note, one by an unknown key is ignored; a note
without any known signature is no evidence. Stricter than the standard: no extension lines, because
nobody can audit them. Signing happens outside, over the bytes of :func:`checkpoint_text`. The log
itself signs with Ed25519; :mod:`gatewright.ledger.notes` knows the keys of witnesses.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol, TypeVar

from gatewright.kernel.errors import BadInput, Tampered
from gatewright.ledger.tree import HASH_BYTES

NOTE_BYTES = 1_000_000
NOTE_SIGNATURES = 100
TREE_SIZE = 2**63 - 1
KEY_ID_BYTES = 4
ED25519_BYTES = 32
ED25519_TYPE = b"\x01"

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_DASH = "\u2014 "


class VerifyingKey(Protocol):
    """An Ed25519 public key, whoever holds it (``gatewright.releases.keys.PublicKey`` is one)."""

    def raw(self) -> bytes:
        """The 32 bytes of RFC 8032."""
        ...

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature holds for the message."""
        ...


class NoteVerifier(Protocol):
    """A key that may have signed notes: its name there, its four-byte id, and how it signs a text."""

    @property
    def name(self) -> str:
        """The key's name in signature lines."""
        ...

    @property
    def id(self) -> bytes:
        """Four bytes."""
        ...

    def verifies(self, signature: bytes, text: bytes) -> bool:
        """Whether ``signature`` is this key's for the note ``text``."""
        ...


_Key = TypeVar("_Key", bound=NoteVerifier)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line: the key's name, its four-byte id, and the signature."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A signed note, taken apart but not yet believed. ``text`` ends in a newline."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def decode(cls, data: bytes) -> Note:
        """Take a note apart. Raises BadInput for anything that the standard does not allow."""
        body, blank, lines = _note_lines(data).rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise _bad_note("It has no signature lines after a blank line.")
        found = lines[:-1].split("\n")
        if len(found) > NOTE_SIGNATURES:
            raise _bad_note(f"It has more than {NOTE_SIGNATURES} signatures.")
        return cls(text=f"{body}\n".encode(), signatures=tuple(_signature(line) for line in found))

    def encode(self) -> bytes:
        """The note as bytes. Raises BadInput for what :meth:`decode` would not take."""
        lines = "".join(
            f"{_DASH}{each.name} {base64.b64encode(each.key_id + each.signature).decode()}\n"
            for each in self.signatures
        )
        data = self.text + f"\n{lines}".encode()
        if Note.decode(data) != self:
            raise _bad_note("Its text or a key name would be read differently.")
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The head of a log: who it is, how many leaves it has, and the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes


def _bad_note(why: str) -> BadInput:
    return BadInput("ledger.note", "The bytes are not a signed note.", why=why)


def _bad_checkpoint(why: str) -> BadInput:
    return BadInput("ledger.checkpoint", "The text is not a checkpoint.", why=why)


def _note_lines(data: bytes) -> str:
    if len(data) > NOTE_BYTES:
        raise _bad_note(f"It is longer than {NOTE_BYTES:,} bytes.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad_note("It is not UTF-8 text.") from None
    if _CONTROL.search(text):
        raise _bad_note("It holds a control character.")
    return text


def canonical_base64(text: str) -> bytes | None:
    """Canonical base64 only, so that one value has one spelling."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def good_name(name: str) -> bool:
    """Whether a name can stand in a signature line: not empty, without spaces and plus signs."""
    return bool(name) and "+" not in name and not any(letter.isspace() for letter in name)


def _signature(line: str) -> NoteSignature:
    name, space, text = line.removeprefix(_DASH).partition(" ")
    raw = canonical_base64(text)
    if not line.startswith(_DASH) or not space or not good_name(name) or raw is None:
        raise _bad_note(f"{line[:80]!r} is not a signature line.")
    if len(raw) <= KEY_ID_BYTES:
        raise _bad_note(f"The signature of {name[:80]} is empty.")
    return NoteSignature(name=name, key_id=raw[:KEY_ID_BYTES], signature=raw[KEY_ID_BYTES:])


def key_id(name: str, key: VerifyingKey) -> bytes:
    """Four bytes that name an Ed25519 key: ``SHA-256(name || 0x0A || 0x01 || key)[:4]``.

    Raises BadInput when the key is not an Ed25519 key or the name cannot stand in a note.
    """
    try:
        raw = key.raw()
    except ValueError:  # an algorithm without a raw form
        raw = b""
    if len(raw) != ED25519_BYTES:
        raise BadInput("ledger.note-key", "Checkpoints are signed with Ed25519; this key is of another kind.")
    if not good_name(name):
        raise BadInput(
            "ledger.note-key", f"{name[:80]!r} cannot name a key: it is empty or has a space or '+'."
        )
    return sha256(name.encode() + b"\n" + ED25519_TYPE + raw).digest()[:KEY_ID_BYTES]


def note_with_signature(text: bytes, name: str, key: VerifyingKey, signature: bytes) -> bytes:
    """The signed note of ``text`` with one signature by ``key``, known as ``name``.

    Raises BadInput when text, name or key cannot make a note.
    """
    signed = NoteSignature(name=name, key_id=key_id(name, key), signature=signature)
    return Note(text=text, signatures=(signed,)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ed25519:
    """A key of signature type 0x01: it signs the text as it is."""

    name: str
    id: bytes
    key: VerifyingKey

    def verifies(self, signature: bytes, text: bytes) -> bool:
        return self.key.verifies(signature, text)


def open_note(data: bytes, keys: Sequence[tuple[str, VerifyingKey]]) -> bytes:
    """Text of a note that at least one of the named Ed25519 keys signed.

    Raises BadInput for a malformed note, Tampered when a known key's signature does not hold or no
    known key signed.
    """
    note = Note.decode(data)
    require_signed(note, [_Ed25519(name=name, id=key_id(name, key), key=key) for name, key in keys])
    return note.text


def require_signed(note: Note, keys: Sequence[_Key]) -> tuple[tuple[_Key, bytes], ...]:
    """Those of the known keys that signed, each with its signature, in the order of the note.

    Raises Tampered when the signature of a known key does not hold or no known key signed, and
    BadInput when two of the known keys cannot be told apart.
    """
    known = {(key.name, key.id): key for key in keys}
    if len(known) != len(keys):
        raise BadInput("ledger.note-key", "Two of the given keys have the same name and id.")
    held: list[tuple[_Key, bytes]] = []
    for each in note.signatures:
        key = known.get((each.name, each.key_id))
        if key is None:
            continue
        if not key.verifies(each.signature, note.text):
            raise Tampered(
                "ledger.note-signature",
                f"The signature of {each.name} does not match the note.",
                why="The text was changed after it was signed, or another key signed it.",
            )
        held.append((key, each.signature))
    if not held:
        raise Tampered(
            "ledger.note-unknown-key",
            "No known key signed this note.",
            why=f"It carries signatures of: {', '.join(sorted({each.name[:80] for each in note.signatures}))}.",
            next="Compare the key you gave with the one that the log's owner published.",
        )
    return tuple(held)


def checkpoint_text(origin: str, size: int, root: bytes) -> bytes:
    """The bytes to sign for a log head. Raises BadInput for a bad origin, size or root."""
    if not good_name(origin) or _CONTROL.search(origin):
        raise _bad_checkpoint(f"{origin[:80]!r} cannot be an origin.")
    if not 0 <= size <= TREE_SIZE or len(root) != HASH_BYTES:
        raise _bad_checkpoint(f"A size of {size} with a root of {len(root)} bytes cannot be a head.")
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


def read_checkpoint_text(text: bytes) -> Checkpoint:
    """Read what :func:`checkpoint_text` writes; raises BadInput for anything else."""
    lines = _note_lines(text).split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise _bad_checkpoint("It must have three lines: origin, size, root.")
    size = int(lines[1]) if _SIZE.fullmatch(lines[1]) else TREE_SIZE + 1
    root = canonical_base64(lines[2])
    if size > TREE_SIZE:
        raise _bad_checkpoint(f"{lines[1][:40]!r} is not a tree size.")
    if root is None or len(root) != HASH_BYTES:
        raise _bad_checkpoint("The root is not the base64 of 32 bytes.")
    return Checkpoint(origin=lines[0], size=size, root=root)


def open_checkpoint(data: bytes, *, origin: str, key: VerifyingKey) -> Checkpoint:
    """The head that a signed note states, believed: signed by the log's key under its origin.

    Raises BadInput for malformed bytes, Tampered for a signature that does not hold, an unknown
    key, or a head of another log.
    """
    stated = Note.decode(data).text.partition(b"\n")[0].decode()
    if stated != origin:
        raise Tampered(
            "ledger.origin",
            f"The checkpoint belongs to the log {stated[:80]!r}, not to {origin[:80]!r}.",
            next="Compare it with the ledger that you meant to verify.",
        )
    return read_checkpoint_text(open_note(data, [(origin, key)]))
