"""Private keys in files: the signers and the data key of one home.

The folder is 0700, every file 0600; a file that others could read, that is a symbolic link or that
belongs to somebody else is not used. Files are created whole and never overwritten.

Without a passphrase a private key is PKCS#8 PEM and the data key 64 hexadecimal characters. With a
passphrase each file is a sealed envelope of exactly that content: see
:mod:`gatewright.adapters.sealed_keys`.

A key that a home makes later stands beside the first one of its kind, under its id:
``release-p256.<id>.pem``. The trust root says which of them is in force.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from gatewright.adapters.durable_files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    create_exclusively,
    disk_failure,
    disk_failures,
    make_folder,
    sync_folder,
    write_atomically,
)
from gatewright.adapters.sealed_keys import KEY_FILE_BYTES, seal, unseal
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import parse_name
from gatewright.releases.keys import Algorithm, PublicKey
from gatewright.releases.trust import TrustRoot

DATA_KEY_BYTES = 32
KEYS_LAST_NS = 730 * 24 * 3_600 * 10**9
"""How long the keys of a new trust root may sign: two years."""
OTHERS = 0o077

DATA_KEY = "data"
NEXT_DATA_KEY = "data-next"
DATA_KEY_FILE = f"{DATA_KEY}.key"
PEOPLE = "people"
AUTHORITY = "tls-authority-p256"
LEDGER_FILE = "ledger.db"
"""It lies beside the keys of a home, and beside no others."""
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

    With ``current`` (key ids by :class:`HomeKey`) a key counts only where it has that id.
    """

    folder: Path
    passphrase: bytes | None = field(default=None, repr=False)
    current: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
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

    def make(self, name: str) -> KeySigner:
        """Make a further key of a home's, in a file that carries its id; it counts once it is current."""
        key = HomeKey(name)
        private = _GENERATE[ALGORITHMS[key]]()
        made = _signer_of(private)
        assert made is not None  # noqa: S101 - of an algorithm that is in use
        self._write(self._path(key, made.public.id), _pem(private))
        return made

    def under(self, trust: TrustRoot, worker: str = "") -> KeyFolder:
        """The same folder, the keys in force being those that ``trust`` names; ``worker`` is a key id."""
        return replace(self, current={**self.current, **_ids_in_force(trust, worker)})

    def sweep(self) -> int:
        """Remove the private halves of a home's keys that are not in force; returns how many there were.

        The file is removed, no more: what a disk or a backup keeps of it is beyond a program.
        """
        idle = [path for key in self.current for path in self._idle(HomeKey(key))]
        for path in idle:
            with disk_failures("remove the key", path):
                path.unlink(missing_ok=True)
            self._opened.pop(path, None)
        if idle:
            with disk_failures("remove the keys", self.folder):
                sync_folder(self.folder)
        return len(idle)

    def _idle(self, key: HomeKey) -> list[Path]:
        """The files of one kind of key beside the one in force; nothing where that one is not here."""
        there = [path for path in sorted(self.folder.glob(f"{key}*.pem")) if _is_of(path, key)]
        in_force = self._current(key)
        return [path for path in there if path != in_force] if in_force in there else []

    def copy_key(self, name: str, to: KeyFolder) -> None:
        """Write the key in force of that name into another folder, as it is here; raises Misuse if one is there."""
        source = self._current(HomeKey(name))
        content = _read_private(source)
        _make_folder(to.folder)
        place = to.folder / source.name
        if os.path.lexists(place) and _read_private(place) == content:
            return
        try:
            create_exclusively(place, content)
        except Misuse:
            raise _exists(place) from None

    def remove(self, name: str) -> None:
        """Remove the file of the key in force of that name: its copy elsewhere is all there is then."""
        path = self._current(HomeKey(name))
        with disk_failures("remove the key", path):
            path.unlink()
            sync_folder(self.folder)
        self._opened.pop(path, None)

    def _create_signer(self, path: Path, algorithm: Algorithm) -> None:
        self._write(path, _pem(_GENERATE[algorithm]()))

    def _write(self, path: Path, content: bytes) -> None:
        if self.passphrase is not None:
            content = seal(content, self.passphrase, self._purpose(path))
        _make_folder(self.folder)
        if path.parent != self.folder:
            _make_folder(path.parent)
        try:
            create_exclusively(path, content)
        except Misuse:
            raise _exists(path) from None

    # Reading

    def signer(self, key: HomeKey) -> KeySigner:
        """Read one of the home's signing keys: the one in force, where that is known."""
        path = self._current(key)
        found = self._signer(path, ALGORITHMS[key])
        if found.public.id != self.current.get(key, found.public.id):
            raise Misuse(
                "keys.other",
                f"{path.name} is not the key that is in force.",
                why=f"It has the id {found.public.id}; the home's public keys name {self.current[key]}.",
                next="Put the right key back from your backup.",
                place=str(path),
            )
        return found

    def _current(self, key: HomeKey) -> Path:
        named = self._path(key, self.current.get(key, ""))
        return named if os.path.lexists(named) else self._path(key)

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

    @property
    def root(self) -> KeySigner:
        """The P-256 root key, which signs the next version of the public keys."""
        return self.signer(HomeKey.ROOT)

    @property
    def root_pq(self) -> KeySigner:
        """The ML-DSA-65 root key."""
        return self.signer(HomeKey.ROOT_PQ)

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

    def next_data_keys(self) -> tuple[bytes, ...]:
        """The key that is becoming the data key, where a change of it has begun; else nothing."""
        path = self._path(NEXT_DATA_KEY)
        if not os.path.lexists(path):
            return ()
        return (bytes.fromhex(self._read(path).decode("ascii")),)

    def make_next_data_key(self) -> bytes:
        """Begin a change of the data key, or go on with the one that was begun; returns the key to come."""
        if not self.next_data_keys():
            self._write(self._path(NEXT_DATA_KEY), secrets.token_bytes(DATA_KEY_BYTES).hex().encode())
        return self.next_data_keys()[0]

    def settle_data_key(self) -> None:
        """End the change: the key to come is the data key, and the old one is destroyed."""
        path, following = self._path(DATA_KEY), self._path(NEXT_DATA_KEY)
        content = self.next_data_keys()[0].hex().encode()
        if self.passphrase is not None:
            content = seal(content, self.passphrase, self._purpose(path))
        write_atomically(path, content)
        with disk_failures("remove the key", following):
            following.unlink()
            sync_folder(following.parent)

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

    def _path(self, name: str, id: str = "") -> Path:  # noqa: A002 - what it is
        named = f"{name}.{id}" if id else name
        return self.folder / (f"{named}.key" if name in (DATA_KEY, NEXT_DATA_KEY) else f"{named}.pem")

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
        return unseal(content, self.passphrase, self._purpose(path), path)


def _ids_in_force(trust: TrustRoot, worker: str) -> Mapping[str, str]:
    keys: dict[str, PublicKey | None] = {
        HomeKey.RELEASE: trust.release,
        HomeKey.RELEASE_PQ: trust.release_pq,
        HomeKey.LOG: trust.log,
        HomeKey.LOG_PQ: trust.log_pq,
        HomeKey.ROOT: trust.root,
        HomeKey.ROOT_PQ: trust.root_pq,
    }
    found = {name: key.id for name, key in keys.items() if key is not None}
    return {**found, HomeKey.WORKER: worker} if worker else found


def _is_of(path: Path, key: HomeKey) -> bool:
    """Whether a file has the name of this kind of key: bare, or with an id."""
    return re.fullmatch(rf"{re.escape(key)}(\.[0-9a-f]{{32}})?\.pem", path.name) is not None


def _pem(private: _Private) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


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


# Files


def _exists(path: Path) -> Misuse:
    return Misuse(
        "keys.exists",
        f"The key {path.name} exists already.",
        why="A key is never overwritten: what it signed or encrypted depends on it.",
        place=str(path),
    )


def _missing(path: Path) -> Misuse:
    """That a key is not here: new keys are for a new home, and never for a ledger that stands already."""
    keys = path.parent.parent if path.parent.name == PEOPLE else path.parent
    stands = (keys.parent / LEDGER_FILE).exists()
    new = "new ones are made by 'gatewright user add' for a person, 'gatewright init' for a new home."
    bring = f"Put your copy of .gatewright/keys into {keys}: see docs/storage.md, 'The disk died: what now'."
    return Misuse(
        "keys.missing",
        f"The key {path.name} is not here.",
        why="New keys are no help: nobody would believe what they sign of this ledger." if stands else "",
        next=bring if stands else f"Put the key file here from where you keep it; {new}",
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
        raise _missing(path) from None
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
