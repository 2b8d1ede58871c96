"""The envelope of a private key under a passphrase: sealed format v1, frozen; see ``docs/formats.md``.

Canonical JSON::

    {"cipher":"aes-256-gcm","data":"…","format":1,"kdf":"scrypt","n":32768,"nonce":"…",
     "p":1,"purpose":"release-p256","r":8,"salt":"…"}

The passphrase goes through scrypt (RFC 7914) with N = 2**15, r = 8, p = 1: 32 MiB of memory for each
guess. The header is authenticated together with the content, so that one file cannot stand in for
another.

Why not encrypted PKCS#8: the library writes it with PBKDF2 and 2,048 rounds, under half a
millisecond a guess.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.releases.fields import Fields

SEALED_FORMAT = 1
SCRYPT_N = 2**15
SCRYPT_R = 8
SCRYPT_P = 1
SALT_BYTES = 16
NONCE_BYTES = 12
KEY_FILE_BYTES = 65_536


def _header(purpose: str, salt: bytes, nonce: bytes) -> dict[str, canonical.Json]:
    return {
        "cipher": "aes-256-gcm",
        "format": SEALED_FORMAT,
        "kdf": "scrypt",
        "n": SCRYPT_N,
        "nonce": base64.b64encode(nonce).decode(),
        "p": SCRYPT_P,
        "purpose": purpose,
        "r": SCRYPT_R,
        "salt": base64.b64encode(salt).decode(),
    }


def _cipher(passphrase: bytes, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase))


def seal(content: bytes, passphrase: bytes, purpose: str) -> bytes:
    """The envelope of a key file; ``purpose`` says what the file is for, and is authenticated with it."""
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    header = _header(purpose, salt, nonce)
    data = _cipher(passphrase, salt).encrypt(nonce, content, canonical.encode(header))
    return canonical.encode({**header, "data": base64.b64encode(data).decode()})


def unseal(content: bytes, passphrase: bytes, purpose: str, path: Path) -> bytes:
    """The content of an envelope; raises Misuse for another purpose, another passphrase or a changed file."""
    try:
        fields = Fields.read(canonical.decode(content), of=path.name, code="keys.not-a-key")
        salt = fields.base64("salt", most=SALT_BYTES)
        nonce = fields.base64("nonce", most=NONCE_BYTES)
        data = fields.base64("data", most=KEY_FILE_BYTES)
        header = _header(str(fields.value.get("purpose")), salt, nonce)
        for name, value in header.items():
            if fields.value.get(name) != value:
                raise fields.refuse(name, f"{value!r}")
        if len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES or header["purpose"] != purpose:
            raise fields.refuse("purpose", f"{purpose!r}")
    except BadInput as error:
        raise Misuse(
            "keys.not-a-key",
            f"{path.name} is not the encrypted key that belongs here.",
            why=error.refusal.what,
            next="Put the file back from your backup.",
            place=str(path),
        ) from None
    try:
        return _cipher(passphrase, salt).decrypt(nonce, data, canonical.encode(header))
    except InvalidTag:
        raise Misuse(
            "keys.wrong-passphrase",
            f"The passphrase does not open {path.name}.",
            why="It is another one, or the file was changed.",
            next="Give the passphrase that was set when the key was made.",
            place=str(path),
        ) from None
