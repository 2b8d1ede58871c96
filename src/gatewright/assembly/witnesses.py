"""Making, opening and serving a witness: a folder of its own, apart from every home."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gatewright.adapters.durable_files import (
    HomeLock,
    disk_failures,
    make_folder,
    remove_parts,
    sync_folder,
    write_atomically,
)
from gatewright.adapters.key_files import KeyFolder
from gatewright.assembly.settings import passphrase
from gatewright.assembly.transport import reach_of
from gatewright.kernel.errors import BadInput, Misuse, Refusal
from gatewright.kernel.instants import Instant
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.ledger.witnessing import Cosigner
from gatewright.operations.files import read_file
from gatewright.operations.witness import (
    SETTINGS_BYTES,
    WITNESS_FILE,
    Witness,
    read_settings,
    settings,
)
from gatewright.releases.heads import log_keys
from gatewright.releases.keys import Algorithm
from gatewright.releases.trust import TRUST_BYTES, TrustRoot
from gatewright.serving.certificates import Certificates, identity_of_files
from gatewright.serving.logs import Log
from gatewright.serving.slots import Reach, bind
from gatewright.serving.supervisor import say
from gatewright.serving.tls import Handshakes

LOCK_FILE = "lock"
KEYS_FILE = "witness.pub"
"""The public keys, a line each, to be given to the owners of logs; nothing reads it back."""
PUBLIC_FILE = 0o644
KEYS: Mapping[SignatureType, tuple[str, Algorithm]] = {
    SignatureType.ED25519_COSIGNATURE: ("witness-ed25519", Algorithm.ED25519),
    SignatureType.ML_DSA_44_COSIGNATURE: ("witness-ml-dsa-44", Algorithm.ML_DSA_44),
}
"""The cosigning keys of a witness, by the signature type in which each speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeWitness:
    """A new witness: where, its name, and the verifier keys that the owners of logs are given."""

    folder: Path
    name: str
    keys: tuple[str, ...]


def create_witness(folder: Path, name: str) -> MadeWitness:
    """Make a witness in a folder that is not there yet: whole, or not at all."""
    document = settings(name)
    folder = folder.resolve()
    if os.path.lexists(folder):
        raise Misuse(
            "assembly.witness-exists",
            f"{folder} is there already.",
            next="Name a folder that is not there yet; a witness keeps its keys for good.",
        )
    draft = folder.with_name(f".{folder.name}.new-{secrets.token_hex(4)}")
    try:
        make_folder(draft)
        keys = KeyFolder(folder=draft / "keys", passphrase=passphrase(os.environ))
        for file, algorithm in KEYS.values():
            keys.create_signer(file, algorithm)
        for each in ("logs", "heads"):
            make_folder(draft / each)
        write_atomically(draft / WITNESS_FILE, document, PUBLIC_FILE)
        made = MadeWitness(folder=folder, name=name, keys=_texts(open_witness(draft)))
        write_atomically(draft / KEYS_FILE, "\n".join([*made.keys, ""]).encode(), PUBLIC_FILE)
        with disk_failures("make the witness", folder):
            draft.rename(folder)
            sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return made


def _texts(witness: Witness) -> tuple[str, ...]:
    return tuple(key.text() for key in witness.keys)


def open_witness(folder: Path) -> Witness:
    """The witness in a folder. Raises Misuse where there is none."""
    if not (folder / WITNESS_FILE).is_file():
        raise Misuse(
            "assembly.no-witness",
            f"There is no witness in {folder}.",
            next="Make one: gatewright witness init FOLDER --name NAME",
        )
    name = read_settings(read_file(folder / WITNESS_FILE, limit=SETTINGS_BYTES))
    keys = KeyFolder(folder=folder / "keys", passphrase=passphrase(os.environ))
    return Witness(
        folder=folder,
        name=name,
        cosigners=tuple(_cosigner(keys, name, kind) for kind in KEYS),
        now=lambda: Instant(time.time_ns()),
        write=write_atomically,
        turn=threading.Lock(),
    )


def _cosigner(keys: KeyFolder, name: str, kind: SignatureType) -> Cosigner:
    signer = keys.named_signer(*KEYS[kind])
    return Cosigner(key=NoteKey(name=name, type=kind, raw=signer.public.raw()), sign=signer.sign)


def keys_given(texts: Sequence[str]) -> tuple[str, ...]:
    """Verifier keys as they were named: each itself, or the lines of a file, or those of a log's ``trust.json``."""
    found: list[str] = []
    for text in texts:
        path = Path(text)
        if "+" in text and not path.is_file():
            found.append(text)
            continue
        content = read_file(path, limit=TRUST_BYTES)
        if content.startswith(b"{"):
            root = TrustRoot.decode(content)
            found += [key.text() for key in log_keys(root.origin, root.log, root.log_pq)]
            continue
        try:
            found += [line.strip() for line in content.decode().splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise BadInput("assembly.key-file", f"{text} holds no keys.", place=text) from None
    return tuple(found)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the one process that serves this folder; clears up after one that was killed."""
    lock = HomeLock(folder / LOCK_FILE, wait_s=0)
    try:
        lock.acquire()
    except Misuse as error:
        raise Misuse(
            "assembly.witness-served",
            "This witness is served by another process already.",
            why=error.refusal.what.replace("The home is", "Its folder is"),
            next="End that one first: two of them could cosign two histories.",
            place=str(folder),
        ) from None
    try:
        if lock.unfinished:
            remove_parts(folder)
            lock.unfinished = False
        yield
    finally:
        lock.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a witness is served: a bound socket, its address as callers write it, and the way in.

    ``inside`` puts TLS around the protocol of a connection, or nothing; ``tell`` takes what an
    operator should know.
    """

    witness: Witness
    listening: socket.socket
    url: str
    inside: Callable[[Callable[[], asyncio.Protocol]], Callable[[], asyncio.Protocol]]
    tell: Callable[[Refusal], None]


@contextmanager
def witness_place(
    folder: Path,
    *,
    host: str,
    port: int,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_ended_by: str = "",
) -> Iterator[Place]:
    """Be the one process that serves a witness, on a bound port: plain on the loopback, with TLS beyond it.

    Raises Misuse for an address beyond the loopback without TLS and for a second process on the
    folder, DependencyFailed for a port that is taken.
    """
    witness = open_witness(folder)
    reach = reach_of(host, tls_cert=tls_cert, tls_key=tls_key, tls_ended_by=tls_ended_by)
    log = Log(say)
    certificates = None
    if reach is Reach.TLS:
        if tls_cert is None or tls_key is None:
            raise Misuse(
                "assembly.witness-certificate",
                "Beyond this machine a witness is served with a certificate of yours.",
                next="Give --tls-cert and --tls-key; or name what ends TLS in front with --tls-ended-by.",
            )
        certificates = Certificates(identity_of_files(tls_cert, tls_key), clock=witness.now, tell=log.refusal)
    with _alone(folder), closing(bind(host, port, reach)) as listening:
        address, number = listening.getsockname()[:2]
        scheme = "http" if certificates is None else "https"
        yield Place(
            witness=witness,
            listening=listening,
            url=f"{scheme}://{f'[{address}]' if ':' in address else address}:{number}",
            inside=lambda protocol: protocol if certificates is None else Handshakes(certificates, protocol),
            tell=log.refusal,
        )
