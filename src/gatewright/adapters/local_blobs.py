"""Blobs in a local folder, encrypted at rest: format v1, frozen; see ``docs/formats.md``.

A blob is one file, ``<folder>/ab/cdef...`` after the SHA-256 of its plain bytes::

    magic "GWBLOB", version 0x00 0x01          8 bytes
    wrap nonce                                12
    data key, wrapped                         32 + 16   AES-256-GCM under the store's key
    chunks of 1 MiB, the last one shorter      n + 16   AES-256-GCM under the data key

Every blob has its own random data key. The additional data of every seal is the header and the
digest of the plain bytes, so a file cannot stand in for another. A chunk's nonce is its number (11
bytes, big-endian) and a last byte that is 1 for the final chunk and 0 before: chunks cannot be cut
off, reordered or repeated (the STREAM construction: Hoang, Reyhanitabar, Rogaway and Vizar, "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015). Counting nonces are
safe because a data key seals one blob only. Random wrap nonces allow 2**32 blobs under one key
(NIST SP 800-38D section 8.3).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO, FileIO
from itertools import chain
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatewright.adapters.durable_files import (
    disk_failures,
    make_folder,
    sync_folder,
    write_pieces_atomically,
)
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered

HEADER = b"GWBLOB\x00\x01"
CHUNK_BYTES = 1 << 20
BLOB_BYTES = 4 << 30
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16

_WRAPPED = KEY_BYTES + TAG_BYTES
_PREFIX = len(HEADER) + NONCE_BYTES + _WRAPPED


def chunk_nonce(number: int, *, final: bool) -> bytes:
    """The nonce of chunk ``number`` under a key that seals one thing only."""
    return number.to_bytes(NONCE_BYTES - 1, "big") + (b"\x01" if final else b"\x00")


class LocalBlobs:
    """Encrypted blobs in a folder; implements :class:`gatewright.ports.Blobs`.

    ``key`` (32 bytes) wraps the data keys; ``also`` are further ones that open what lies here, while
    the key is being changed. Raises Misuse for a key of another length.
    """

    def __init__(self, folder: Path, key: bytes, *, also: Sequence[bytes] = ()) -> None:
        for each in (key, *also):
            if len(each) != KEY_BYTES:
                raise Misuse(
                    "storage.blob-key", f"The blob key has {len(each)} bytes; it must have {KEY_BYTES}."
                )
        self._folder = folder
        self._wrap = AESGCM(key)
        self._also = tuple(AESGCM(each) for each in also)

    def path_of(self, digest: Digest) -> Path:
        """Where a blob lies, whether or not it is there."""
        return self._folder / digest.hex[:2] / digest.hex[2:]

    def put(self, data: bytes) -> Digest:
        """Keep the bytes; durable on return; returns their digest.

        What is there already is read back first: a damaged blob is written anew. Raises BadInput
        beyond 4 GiB and DependencyFailed when the disk fails.
        """
        if len(data) > BLOB_BYTES:
            raise BadInput(
                "storage.blob-too-large", f"The content has {len(data):,} bytes; the limit is {BLOB_BYTES:,}."
            )
        digest = Digest.of(data)
        path = self.path_of(digest)
        if self._intact(digest):
            with disk_failures("keep the blob", path):
                sync_folder(path.parent)  # its first writer may have been killed before this
        else:
            make_folder(path.parent)
            write_pieces_atomically(path, self._sealed(data, digest))
        return digest

    def digests(self) -> Iterator[Digest]:
        """Every digest kept here, in order, whether or not its content still holds."""
        with disk_failures("read the folder", self._folder):
            for path in sorted(self._folder.glob("[0-9a-f][0-9a-f]/*")):
                if not path.name.startswith("."):
                    yield Digest(path.parent.name + path.name)

    def has(self, digest: Digest) -> bool:
        """Whether the digest is kept here; says nothing about the state of the bytes."""
        with disk_failures("look for the blob", self.path_of(digest)):
            return self.path_of(digest).is_file()

    def get(self, digest: Digest) -> bytes:
        """The bytes with this digest.

        Raises BadInput when there are none, Tampered when the file does not decrypt to them, and
        DependencyFailed when the disk fails.
        """
        path = self.path_of(digest)
        with disk_failures("read the blob", path):
            try:
                with path.open("rb", buffering=0) as file:
                    return self._opened(file, digest, os.fstat(file.fileno()).st_size)
            except FileNotFoundError:
                raise BadInput(
                    "storage.no-such-blob", f"There is no content with the digest {digest}.", place=str(path)
                ) from None

    def rewrap(self, digest: Digest, key: bytes) -> bool:
        """Put the blob's data key under another key, the content as it is; whether it was not there already.

        The file is replaced in one step. Raises what :meth:`get` raises for a file that is no blob.
        """
        path, bound, wrap = self.path_of(digest), HEADER + digest.raw, AESGCM(key)
        with disk_failures("read the blob", path), path.open("rb", buffering=0) as file:
            prefix = file.read(_PREFIX)
            if len(prefix) != _PREFIX or not prefix.startswith(HEADER):
                raise _tampered(digest, "The file is not a version 1 blob.")
            with suppress(InvalidTag):
                _unwrapped(wrap, prefix, bound)
                return False
            try:
                data_key = self._data_key(prefix, bound)
            except InvalidTag:
                raise _tampered(digest, "The file does not decrypt, or another key sealed it.") from None
            nonce = secrets.token_bytes(NONCE_BYTES)
            head = HEADER + nonce + wrap.encrypt(nonce, data_key, bound)
            write_pieces_atomically(path, chain((head,), iter(lambda: file.read(CHUNK_BYTES), b"")))
        return True

    def _data_key(self, prefix: bytes, bound: bytes) -> bytes:
        """The blob's own key; raises InvalidTag where none of the store's keys opens it."""
        for wrap in self._also:
            with suppress(InvalidTag):
                return _unwrapped(wrap, prefix, bound)
        return _unwrapped(self._wrap, prefix, bound)

    def _intact(self, digest: Digest) -> bool:
        try:
            self.get(digest)
        except (BadInput, Tampered):
            return False
        return True

    def _sealed(self, data: bytes, digest: Digest) -> Iterator[bytes]:
        bound = HEADER + digest.raw
        data_key, wrap_nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(NONCE_BYTES)
        yield HEADER + wrap_nonce + self._wrap.encrypt(wrap_nonce, data_key, bound)
        seal, view = AESGCM(data_key), memoryview(data)
        last = max(len(data) - 1, 0) // CHUNK_BYTES
        for number in range(last + 1):
            chunk = view[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
            yield seal.encrypt(chunk_nonce(number, final=number == last), chunk, bound)

    def _opened(self, file: FileIO, digest: Digest, size: int) -> bytes:
        body = size - _PREFIX
        last = max(body - 1, 0) // (CHUNK_BYTES + TAG_BYTES)
        plain = body - (last + 1) * TAG_BYTES
        prefix = file.read(_PREFIX)
        if not prefix.startswith(HEADER) or not 0 <= plain <= BLOB_BYTES:
            raise _tampered(digest, "The file is not a version 1 blob.")
        bound = HEADER + digest.raw
        out = BytesIO()
        buffer = memoryview(bytearray(CHUNK_BYTES + TAG_BYTES))
        try:
            seal = AESGCM(self._data_key(prefix, bound))
            for number in range(last + 1):
                chunk = buffer[: _fill(file, buffer)]
                out.write(seal.decrypt(chunk_nonce(number, final=number == last), chunk, bound))
        except InvalidTag:
            raise _tampered(digest, "The file does not decrypt, or another key sealed it.") from None
        data = out.getvalue()
        if Digest.of(data) != digest:
            raise _tampered(digest, f"The content has the digest {Digest.of(data)}.")
        return data


def _unwrapped(wrap: AESGCM, prefix: bytes, bound: bytes) -> bytes:
    return wrap.decrypt(prefix[len(HEADER) : len(HEADER) + NONCE_BYTES], prefix[-_WRAPPED:], bound)


def _fill(file: FileIO, buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends; an unbuffered read may return less."""
    have = 0
    while have < len(buffer):
        count = file.readinto(buffer[have:])
        if not count:
            break
        have += count
    return have


def _tampered(digest: Digest, why: str) -> Tampered:
    return Tampered(
        "storage.blob-tampered",
        f"The stored content {digest} is not what was put there.",
        why=why,
        next="Restore the file from a backup, or put the original content again.",
        place=f"blobs/{digest.hex[:2]}/{digest.hex[2:]}",
    )
