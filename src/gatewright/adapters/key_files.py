"""Private keys in files: the signers and the data key of one home.

The folder is 0700, every file 0600; a file that others could read, that is a symbolic link or that
belongs to somebody else is not used. Files are created whole and never overwritten.

Without a passphrase a private key is PKCS#8 PEM and the data key 64 hexadecimal characters. With a
passphrase each file is a sealed envelope of exactly that content, canonical JSON::

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
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gatewright.adapters.durable_files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    create_exclusively,
    disk_failure,
    disk_failures,
    make_folder,
)
from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import parse_name
from gatewright.releases.fields import Fields
from gatewright.releases.keys import Algorithm, PublicKey
from gatewright.releases.trust import TrustRoot

SEALED_FORMAT = 1
SCRYPT_N = 2**15
SCRYPT_R = 8
SCRYPT_P = 1
SALT_BYTES = 16
NONCE_BYTES = 12
DATA_KEY_BYTES = 32
KEY_FILE_BYTES = 65_536
KEYS_LAST_NS = 730 * 24 * 3_600 * 10**9
"""How long the keys of a new trust root may sign: two years."""
OTHERS = 0o077

DATA_KEY = "data"
PEOPLE = "people"
AUTHORITY = "tls-authority-p256"
PERSON_SUFFIX = "-p256.pem"

_Private: TypeAlias = (
    ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey
)


class HomeKey(StrEnum):
    """The signing keys that every home has, by the name of their file."""

    RELEASE = "release-p256"
    RELEASE_PQ = "release-ml-dsa-65"
    LOG = "log-ed25519"
    LOG_PQ = "log-ml-dsa-44"
    WORKER = "worker-ed25519"
    ROOT = "root-p256"
    ROOT_PQ = "root-ml-dsa-65"


ALGORITHMS = {
    HomeKey.RELEASE: Algorithm.ECDSA_P256,
    HomeKey.RELEASE_PQ: Algorithm.ML_DSA_65,
    HomeKey.LOG: Algorithm.ED25519,
    HomeKey.LOG_PQ: Algorithm.ML_DSA_44,
    HomeKey.WORKER: Algorithm.ED25519,
    HomeKey.ROOT: Algorithm.ECDSA_P256,
    HomeKey.ROOT_PQ: Algorithm.ML_DSA_65,
}

_GENERATE: dict[Algorithm, Callable[[], _Private]] = {
    Algorithm.ECDSA_P256: lambda: ec.generate_private_key(ec.SECP256R1()),
    Algorithm.ED25519: ed25519.Ed25519PrivateKey.generate,
    Algorithm.ML_DSA_44: mldsa.MLDSA44PrivateKey.generate,
    Algorithm.ML_DSA_65: mldsa.MLDSA65PrivateKey.generate,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """The ``Signer`` port on a private key in memory; its text form shows the public half only."""

    public: PublicKey
    _private: _Private = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Signature over the message: DER for ECDSA with SHA-256, raw for the others."""
        if isinstance(self._private, ec.EllipticCurvePrivateKey):
            return self._private.sign(message, ec.ECDSA(hashes.SHA256()))
        return self._private.sign(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFolder:
    """The ``keys/`` folder of a home.

    ``passphrase`` encrypts what is created and opens what is read; None means that the files are
    not encrypted. The two never mix: a passphrase given for plain files is refused, and the other
    way round, so that nobody believes in a protection that is not there. A key is read once and
    then kept: opening an encrypted one costs a scrypt derivation.
    """

    folder: Path
    passphrase: bytes | None = field(default=None, repr=False)
    _opened: dict[Path, KeySigner] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.passphrase is not None and not self.passphrase:
            raise Misuse(
                "keys.empty-passphrase",
                "The passphrase is empty.",
                next="Give a passphrase of some length, or none at all.",
            )

    # Creating

    def create(self) -> None:
        """Make the folder, the signing keys and the data key; raises Misuse if any exists.

        Each file is written whole; together they are not one step. A caller who needs that
        makes the folder elsewhere and moves it into its place.
        """
        for name in (*HomeKey, DATA_KEY):
            if os.path.lexists(self._path(name)):
                raise _exists(self._path(name))
        for key in HomeKey:
            self._create_signer(self._path(key), ALGORITHMS[key])
        self._write(self._path(DATA_KEY), secrets.token_bytes(DATA_KEY_BYTES).hex().encode())

    def create_person(self, name: str) -> PublicKey:
        """Make a person's P-256 key, or return the public half of the one there is."""
        path = self._person(name)
        if not os.path.lexists(path):
            self._create_signer(path, Algorithm.ECDSA_P256)
        return self.person(name).public

    def create_signer(self, name: str, algorithm: Algorithm) -> None:
        """Make one more key beside those of a home, such as a witness's; raises Misuse if it exists."""
        self._create_signer(self._path(name), algorithm)

    def named_signer(self, name: str, algorithm: Algorithm) -> KeySigner:
        """Read a key that :meth:`create_signer` made."""
        return self._signer(self._path(name), algorithm)

    def _create_signer(self, path: Path, algorithm: Algorithm) -> None:
        pem = _GENERATE[algorithm]().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._write(path, pem)

    def _write(self, path: Path, content: bytes) -> None:
        if self.passphrase is not None:
            content = _seal(content, self.passphrase, self._purpose(path))
        _make_folder(self.folder)
        if path.parent != self.folder:
            _make_folder(path.parent)
        try:
            create_exclusively(path, content)
        except Misuse:
            raise _exists(path) from None

    # Reading

    def signer(self, key: HomeKey) -> KeySigner:
        """Read one of the home's signing keys."""
        return self._signer(self._path(key), ALGORITHMS[key])

    @property
    def release(self) -> KeySigner:
        """The P-256 release key."""
        return self.signer(HomeKey.RELEASE)

    @property
    def release_pq(self) -> KeySigner:
        """The ML-DSA-65 release key."""
        return self.signer(HomeKey.RELEASE_PQ)

    @property
    def log(self) -> KeySigner:
        """The Ed25519 key that signs checkpoints."""
        return self.signer(HomeKey.LOG)

    @property
    def log_pq(self) -> KeySigner:
        """The ML-DSA-44 key that signs checkpoints beside it."""
        return self.signer(HomeKey.LOG_PQ)

    @property
    def worker(self) -> KeySigner:
        """The Ed25519 key that signs batches of prediction records."""
        return self.signer(HomeKey.WORKER)

    def person(self, name: str) -> KeySigner:
        """Read a person's key; raises Misuse where that person has none."""
        return self._signer(self._person(name), Algorithm.ECDSA_P256)

    def people(self) -> tuple[str, ...]:
        """Names of the people who have a key here, sorted."""
        folder = self.folder / PEOPLE
        try:
            found = sorted(path.name for path in folder.iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise disk_failure(error, "read the folder", folder) from error
        return tuple(name.removesuffix(PERSON_SUFFIX) for name in found if name.endswith(PERSON_SUFFIX))

    def authority_pem(self) -> bytes:
        """The P-256 key that signs the home's own TLS certificates, PKCS#8 PEM; made where there is none."""
        path = self._path(AUTHORITY)
        if not os.path.lexists(path):
            with suppress(Misuse):  # another process was first, or the read below says what is wrong
                self._create_signer(path, Algorithm.ECDSA_P256)
        return self._read(path)

    def data_key(self) -> bytes:
        """Read the 32-byte key that encrypts the keys of blobs, payloads and segments."""
        path = self._path(DATA_KEY)
        content = self._read(path)
        try:
            key = bytes.fromhex(content.decode("ascii"))
        except ValueError:
            key = b""
        if len(key) != DATA_KEY_BYTES:
            raise Misuse("keys.not-a-key", f"{path.name} does not hold a data key.", place=str(path))
        return key

    def trust(self, origin: str, now: Instant) -> TrustRoot:
        """Public halves of the keys, as the first trust root of the home ``origin``."""
        return TrustRoot(
            origin=origin,
            release=self.release.public,
            release_pq=self.release_pq.public,
            log=self.log.public,
            log_pq=self.log_pq.public,
            root=self.signer(HomeKey.ROOT).public,
            root_pq=self.signer(HomeKey.ROOT_PQ).public,
            made=now,
            expires=Instant(now.ns + KEYS_LAST_NS),
        )

    def _path(self, name: str) -> Path:
        return self.folder / (f"{name}.key" if name == DATA_KEY else f"{name}.pem")

    def _person(self, name: str) -> Path:
        return self.folder / PEOPLE / f"{parse_name(name, of='name of a person')}{PERSON_SUFFIX}"

    def _purpose(self, path: Path) -> str:
        """What the file is for, authenticated with its content: its place within the folder."""
        return path.relative_to(self.folder).with_suffix("").as_posix()

    def _signer(self, path: Path, algorithm: Algorithm) -> KeySigner:
        if path in self._opened:
            return self._opened[path]
        pem = self._read(path)
        try:
            private = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise Misuse(
                "keys.not-a-key", f"{path.name} does not hold a private key in PKCS#8 PEM.", place=str(path)
            ) from None
        signer = _signer_of(private)
        if signer is None or signer.public.algorithm is not algorithm:
            raise Misuse(
                "keys.wrong-algorithm",
                f"{path.name} holds a key of another algorithm than {algorithm}.",
                next="Put the right key back from your backup.",
                place=str(path),
            )
        self._opened[path] = signer
        return signer

    def _read(self, path: Path) -> bytes:
        content = _read_private(path)
        sealed = content.startswith(b"{")
        if sealed and self.passphrase is None:
            raise Misuse(
                "keys.passphrase-needed",
                f"{path.name} is encrypted, and no passphrase was given.",
                next="Set GATEWRIGHT_PASSPHRASE_FILE to a file that holds the passphrase.",
                place=str(path),
            )
        if not sealed and self.passphrase is not None:
            raise Misuse(
                "keys.not-encrypted",
                f"{path.name} is not encrypted, although a passphrase was given.",
                why="This home was made without a passphrase; giving one now protects nothing.",
                next="Unset the passphrase, or make a new home with it.",
                place=str(path),
            )
        if self.passphrase is None:
            return content
        return _unseal(content, self.passphrase, self._purpose(path), path)


def _signer_of(private: object) -> KeySigner | None:
    """The signer of a loaded key, None for kinds that are not in use."""
    if not isinstance(private, _Private):
        return None
    spki = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        return KeySigner(public=PublicKey.from_der(spki), _private=private)
    except BadInput:  # another curve
        return None


# The sealed envelope


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


def _seal(content: bytes, passphrase: bytes, purpose: str) -> bytes:
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    header = _header(purpose, salt, nonce)
    data = _cipher(passphrase, salt).encrypt(nonce, content, canonical.encode(header))
    return canonical.encode({**header, "data": base64.b64encode(data).decode()})


def _unseal(content: bytes, passphrase: bytes, purpose: str, path: Path) -> bytes:
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


# Files


def _exists(path: Path) -> Misuse:
    return Misuse(
        "keys.exists",
        f"The key {path.name} exists already.",
        why="A key is never overwritten: what it signed or encrypted depends on it.",
        place=str(path),
    )


def _require_private(found: os.stat_result, path: Path, kind: str, mode: int) -> None:
    if found.st_uid != os.geteuid():
        raise Misuse(
            "keys.owner",
            f"The key {kind} {path.name} belongs to another user.",
            next="Run as the user who owns the home.",
            place=str(path),
        )
    if stat.S_IMODE(found.st_mode) & OTHERS:
        raise Misuse(
            "keys.readable-by-others",
            f"The key {kind} {path.name} is open to other users of this machine.",
            why="A key that others can read or replace proves nothing.",
            next=f"Run: chmod {mode:o} {path}",
            place=str(path),
        )


def _require_folder(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Misuse(
            "keys.folder", f"{folder.name} is not a folder, or is a symbolic link.", place=str(folder)
        )
    _require_private(found, folder, "folder", PRIVATE_FOLDER)


def _make_folder(folder: Path) -> None:
    make_folder(folder)
    with disk_failures("look at the folder", folder):
        _require_folder(folder)


def _read_private(path: Path) -> bytes:
    """Bytes of a file that nobody else can read; the checks look at the opened file itself."""
    try:
        _require_folder(path.parent)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Misuse(
            "keys.missing",
            f"There is no key {path.name}.",
            next="Make one with 'gatewright user add', or 'gatewright init' for a new home.",
            place=str(path),
        ) from None
    except OSError as error:
        if path.is_symlink():
            raise Misuse(
                "keys.symlink",
                f"{path.name} is a symbolic link.",
                why="Where a link leads can change between the check and the use.",
                next="Put the key file itself here.",
                place=str(path),
            ) from None
        raise disk_failure(error, "read the key", path) from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > KEY_FILE_BYTES:
            raise Misuse("keys.not-a-key", f"{path.name} is not a key file.", place=str(path))
        _require_private(found, path, "file", PRIVATE_FILE)
        with disk_failures("read the key", path):
            return os.read(handle, KEY_FILE_BYTES)
    finally:
        os.close(handle)
