r"""A backup in one file: format v1, a stream of members in an encrypted envelope; see ``docs/formats.md``.

::

    magic "GWBACK", version 0x00 0x01          8 bytes
    u32 length | header                        canonical JSON, in plain
    chunks of 1 MiB, the last one shorter      n + 16   AES-256-GCM under the backup's data key

The header names how the key-encryption key is had (``passphrase``: scrypt, RFC 7914, with the costs
of :mod:`~gatewright.adapters.key_files`; ``file``: 32 bytes kept apart), and holds the data key,
wrapped under it with the rest of the header as additional data. Chunks are those of a blob (the
STREAM construction, see :mod:`~gatewright.adapters.local_blobs`), with magic and header as
additional data: they cannot be cut off, reordered, repeated or moved to another backup.

Inside stand entries, each ``u32 length | canonical JSON``:

``{"home":{…}}``   first: what the home was, as the writer describes it
``{"file":{"mode","path","size"}}``   then its ``size`` bytes, then their SHA-256
``{"end":{"bytes","files"}}``   last; nothing follows

There is no compression, no link and no path but of plain names: nothing can expand or climb. Reading
and writing take the memory of a few chunks.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gatewright.adapters.durable_files import create_exclusively, disk_failures
from gatewright.adapters.key_files import OTHERS
from gatewright.adapters.local_blobs import CHUNK_BYTES, KEY_BYTES, NONCE_BYTES, TAG_BYTES, chunk_nonce
from gatewright.adapters.sealed_keys import SALT_BYTES, SCRYPT_N, SCRYPT_P, SCRYPT_R
from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.releases.fields import Fields

BACKUP_FORMAT = 1
MAGIC = b"GWBACK\x00"
HEADER_BYTES = 4_096
ENTRY_BYTES = 65_536
FILES = 10_000_000
DIGEST_BYTES = 32
PATH_PARTS = 8

_U32 = struct.Struct(">I")
_CODE = "storage.backup"
_PART = re.compile(r"[A-Za-z0-9._+-]{1,128}")
_KEY_LABEL = b"gatewright backup key v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKey:
    """What opens a backup: a passphrase, or 32 bytes of a key file kept apart."""

    kind: str
    secret: bytes = field(repr=False)

    def fields(self, salt: bytes) -> JsonObject:
        """How the header names it."""
        if self.kind == "file":
            return {"id": sha256(_KEY_LABEL + self.secret).hexdigest()[:16], "kind": "file"}
        text = base64.b64encode(salt).decode()
        return {
            "kdf": "scrypt",
            "kind": "passphrase",
            "n": SCRYPT_N,
            "p": SCRYPT_P,
            "r": SCRYPT_R,
            "salt": text,
        }

    def cipher(self, salt: bytes) -> AESGCM:
        """The key-encryption key."""
        if self.kind == "file":
            return AESGCM(self.secret)
        return AESGCM(
            Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(self.secret)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a backup: its path below the home's root, its mode, its size in bytes."""

    path: str
    mode: int
    size: int


def new_key_file(path: Path) -> None:
    """Make a key file: 32 random bytes in hexadecimal, readable by their owner only, never overwritten."""
    create_exclusively(path, secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")


def read_key_file(path: Path) -> BackupKey:
    """The key in a file that nobody else can read; raises Misuse for any other file."""
    what = f"{path} is not a key file for backups."
    with disk_failures("read the key file", path):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Misuse("storage.no-backup-key", f"There is no key file {path}.") from None
        try:
            found = os.fstat(handle)
            content = os.read(handle, ENTRY_BYTES) if stat.S_ISREG(found.st_mode) else b""
        finally:
            os.close(handle)
    if stat.S_IMODE(found.st_mode) & OTHERS:
        why = "Other users of this machine can read it."
        raise Misuse("storage.backup-key-open", what, why=why, next=f"Run: chmod 600 {path}")
    if not re.fullmatch(rb"[0-9a-f]{64}\n?", content):
        raise Misuse("storage.not-a-backup-key", what, why="It must hold 64 hexadecimal characters.")
    return BackupKey(kind="file", secret=bytes.fromhex(content.decode("ascii").strip()))


# Writing


def written(
    key: BackupKey, home: JsonObject, members: Iterable[tuple[Member, Iterator[bytes]]]
) -> Iterator[bytes]:
    """The bytes of a backup, piece by piece; ``members`` are read as they are written.

    Raises Tampered where a member has more or fewer bytes than it said.
    """
    salt, nonce, data_key = (secrets.token_bytes(size) for size in (SALT_BYTES, NONCE_BYTES, KEY_BYTES))
    named: JsonObject = {
        "cipher": "aes-256-gcm",
        "format": BACKUP_FORMAT,
        "key": key.fields(salt),
        "nonce": base64.b64encode(nonce).decode(),
    }
    wrapped = key.cipher(salt).encrypt(nonce, data_key, canonical.encode(named))
    header = canonical.encode({**named, "wrapped": base64.b64encode(wrapped).decode()})
    start = MAGIC + bytes((BACKUP_FORMAT,)) + _U32.pack(len(header)) + header
    yield start
    yield from _sealed(AESGCM(data_key), start, _entries(home, members))


def _entry(value: JsonObject) -> bytes:
    data = canonical.encode(value)
    return _U32.pack(len(data)) + data


def _entries(home: JsonObject, members: Iterable[tuple[Member, Iterator[bytes]]]) -> Iterator[bytes]:
    yield _entry({"home": home})
    files = total = 0
    for member, pieces in members:
        yield _entry({"file": {"mode": member.mode, "path": member.path, "size": member.size}})
        digest, size = sha256(), 0
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            yield piece
        if size != member.size:
            what = f"A file changed while it was backed up: {member.path}."
            raise Tampered("storage.backup-changed", what, next="Run the backup again.", place=member.path)
        yield digest.digest()
        files += 1
        total += size
    yield _entry({"end": {"bytes": total, "files": files}})


def _sealed(seal: AESGCM, bound: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Chunks of the joined pieces; the last one, which may be empty, is marked."""
    waiting = bytearray()
    number = 0
    for piece in pieces:
        waiting += piece
        while len(waiting) > CHUNK_BYTES:
            yield seal.encrypt(chunk_nonce(number, final=False), bytes(waiting[:CHUNK_BYTES]), bound)
            del waiting[:CHUNK_BYTES]
            number += 1
    yield seal.encrypt(chunk_nonce(number, final=True), bytes(waiting), bound)


# Reading


def read(
    file: BinaryIO, key: Callable[[str], BackupKey], take: Callable[[Member, Iterator[bytes]], None]
) -> JsonObject:
    """Read a whole backup; returns what it says of the home.

    ``key`` gives the key for a kind, ``passphrase`` or ``file``; ``take`` gets each member with its
    bytes, which it need not use up. A member's digest is compared after ``take`` returned: what was
    taken counts only once this function returns. Raises BadInput for a file that is no backup of a
    version that is read here, Misuse for a key that does not open it, Tampered for anything changed.
    """
    source = _Opened(file, key)
    home = source.entry("home")
    files = total = 0
    seen: set[str] = set()
    while "file" in (entry := source.entry("file", "end")):
        member = _member(entry["file"])
        if member.path in seen or len(seen) >= FILES or member.size > source.most():
            raise _damaged("A file stands twice in it, or is larger than the backup itself.")
        seen.add(member.path)
        digest = sha256()
        pieces = source.content(member.size, digest.update)
        take(member, pieces)
        for _ in pieces:
            pass
        if source.exactly(DIGEST_BYTES) != digest.digest():
            raise _damaged(f"{member.path} does not have the digest that was kept with it.")
        files += 1
        total += member.size
    if entry != {"end": {"bytes": total, "files": files}} or not source.ended():
        raise _damaged("It does not hold what its end says.")
    found = home["home"]
    if not isinstance(found, dict):
        raise _damaged("It does not say what the home was.")
    return found


class _Opened:
    """The plain bytes of a backup, chunk by chunk."""

    def __init__(self, file: BinaryIO, key: Callable[[str], BackupKey]) -> None:
        self._file = file
        self.left = os.fstat(file.fileno()).st_size
        self._number = 0
        self._waiting = bytearray()
        start = self._raw(len(MAGIC) + 1 + _U32.size)
        if not start.startswith(MAGIC) or len(start) < len(MAGIC) + 1 + _U32.size:
            raise BadInput("storage.not-a-backup", "The file is not a backup that 'gatewright backup' wrote.")
        version, size = start[len(MAGIC)], _U32.unpack_from(start, len(MAGIC) + 1)[0]
        if version > BACKUP_FORMAT:
            raise Misuse(
                "storage.newer-backup",
                f"The backup has format {version}; this version of gatewright reads up to {BACKUP_FORMAT}.",
                next="Upgrade gatewright; nothing was changed.",
            )
        if version != BACKUP_FORMAT or size > HEADER_BYTES:
            raise BadInput("storage.not-a-backup", "The head of the backup is not of version 1.")
        header = self._raw(size)
        self._bound = start + header
        self._seal = AESGCM(_data_key(header, key))

    def _raw(self, size: int) -> bytes:
        data = self._file.read(size)
        self.left -= len(data)
        return data

    def _more(self) -> None:
        chunk = self._raw(CHUNK_BYTES + TAG_BYTES)
        if not chunk:
            raise _damaged("It ends too early.")
        try:
            self._waiting += self._seal.decrypt(
                chunk_nonce(self._number, final=self.left <= 0), chunk, self._bound
            )
        except InvalidTag:
            at = self._number * (CHUNK_BYTES + TAG_BYTES) + len(self._bound)
            raise _damaged("A part of it was changed, removed or moved.", place=f"byte {at:,}") from None
        self._number += 1

    def most(self) -> int:
        """How many plain bytes can follow at most."""
        return self.left + len(self._waiting)

    def exactly(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        while len(self._waiting) < size:
            self._more()
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        return data

    def content(self, size: int, seen: Callable[[bytes], object]) -> Iterator[bytes]:
        """The next ``size`` bytes in pieces, each of them shown to ``seen``."""
        while size:
            if not self._waiting:
                self._more()
            piece = self.exactly(min(size, len(self._waiting)))
            seen(piece)
            size -= len(piece)
            yield piece

    def entry(self, *kinds: str) -> JsonObject:
        """The next entry, of one of the kinds."""
        size = _U32.unpack(self.exactly(_U32.size))[0]
        if size > ENTRY_BYTES:
            raise _damaged("An entry is too long.")
        try:
            found = canonical.decode(self.exactly(size))
        except BadInput:
            found = None
        if not isinstance(found, dict) or len(found) != 1 or not set(found) <= set(kinds):
            raise _damaged("An entry cannot be read.")
        return found

    def ended(self) -> bool:
        """Whether nothing follows."""
        return not self._waiting and self._number > 0 and self.left <= 0


def _data_key(header: bytes, key: Callable[[str], BackupKey]) -> bytes:
    try:
        fields = Fields.read(canonical.decode(header), of="the backup's header", code=_CODE)
        fields.exactly("cipher", "format", "key", "nonce", "wrapped").constant("cipher", "aes-256-gcm")
        kind = Fields.read(fields.value["key"], of="the backup's key", code=_CODE)
        salt = kind.base64("salt", most=SALT_BYTES) if kind.value.get("kind") == "passphrase" else b""
        nonce = fields.base64("nonce", most=NONCE_BYTES)
        wrapped = fields.base64("wrapped", most=KEY_BYTES + TAG_BYTES)
        named = kind.text("kind")
    except BadInput as error:
        raise BadInput(
            "storage.not-a-backup", "The head of the backup cannot be read.", why=error.refusal.what
        ) from None
    if named not in ("passphrase", "file"):
        raise BadInput("storage.not-a-backup", "The head of the backup names no kind of key that is known.")
    opener = key(named)
    plain = {name: value for name, value in fields.value.items() if name != "wrapped"}
    try:
        if opener.fields(salt) == kind.value:
            return opener.cipher(salt).decrypt(nonce, wrapped, canonical.encode(plain))
    except (InvalidTag, ValueError):  # the refusal below says so, as for a key of another name
        pass
    what = "The key file" if named == "file" else "The passphrase"
    raise Misuse(
        "storage.wrong-backup-key",
        f"{what} does not open the backup.",
        why="It is another one, or the head of the backup was changed.",
        next=f"Give the {what[4:]} with which the backup was made.",
    )


def _member(value: object) -> Member:
    try:
        fields = Fields.read(value, of="a file of the backup", code=_CODE).exactly("mode", "path", "size")
        member = Member(path=fields.text("path"), mode=fields.whole("mode"), size=fields.whole("size"))
    except BadInput as error:
        raise _damaged(error.refusal.what) from None
    if not is_plain(member.path) or member.mode & ~0o777:
        raise _damaged(f"It names a path that no backup has: {member.path[:80]!r}.")
    return member


def is_plain(path: str) -> bool:
    """Whether a path consists of plain names only, none of which climbs or begins at the root."""
    parts = path.split("/")
    return len(parts) <= PATH_PARTS and all(
        _PART.fullmatch(part) and part not in (".", "..") for part in parts
    )


def _damaged(why: str, *, place: str = "") -> Tampered:
    return Tampered(
        "storage.backup-damaged",
        "The backup does not hold.",
        why=why,
        next="Use another backup; nothing was restored from this one.",
        place=place,
    )
