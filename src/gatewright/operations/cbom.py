"""The cryptographic bill of a home: its keys by id, from what it publishes and records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gatewright.kernel.instants import Instant
from gatewright.kernel.version import VERSION
from gatewright.operations.catalogue import User, every
from gatewright.operations.home import Home
from gatewright.releases.crypto_bom import (
    ACTIVE,
    COMPROMISED,
    DEACTIVATED,
    KeyAsset,
    crypto_bill,
    encode_crypto_bill,
)
from gatewright.releases.keys import PublicKey
from gatewright.releases.trust import Era, TrustRoot
from gatewright.releases.worker_keys import verify_worker_key

DATA_KEY = "data"


def crypto_bom(home: Home, time: Instant | None = None) -> bytes:
    """The bill as bytes of CycloneDX 1.6 JSON, of now or of ``time``; it holds no key, only ids, states and times."""
    return encode_crypto_bill(
        crypto_bill(
            home=home.origin,
            version=VERSION,
            fingerprint=home.trust.fingerprint(),
            now=home.now() if time is None else time,
            keys=tuple({one.ref: one for one in _keys(home)}.values()),
        )
    )


def write_crypto_bom(home: Home, path: Path) -> bytes:
    """Write the bill to a file, whole or not at all; returns its bytes."""
    content = crypto_bom(home)
    home.write(path, content)
    return content


def _keys(home: Home) -> Iterator[KeyAsset]:
    """Every key, those of former times first: where a key is in force again, that counts."""
    trust = home.trust
    for era in trust.past:
        yield from _retired(era)
    now = {
        "log": trust.log,
        "log-pq": trust.log_pq,
        "release": trust.release,
        "release-pq": trust.release_pq,
        "root": trust.root,
        "root-pq": trust.root_pq,
    }
    for role, key in now.items():
        if key is not None:
            yield _pair(role, key, ACTIVE, until=trust.expires)
    yield from _workers(home, trust)
    for user in every(home, "users", User):
        document = home.document("users", user.principal) or {}
        yield KeyAsset(
            role="person",
            id=user.key,
            algorithm="ecdsa-p256",
            state=ACTIVE,
            created=Instant.parse(str(document["time"])),
        )
    yield KeyAsset(
        role="data-encryption", id=DATA_KEY, algorithm="aes-256-gcm", state=ACTIVE, kind="secret-key"
    )


def _pair(role: str, key: PublicKey, state: str, *, until: Instant | None = None) -> KeyAsset:
    return KeyAsset(role=role, id=key.id, algorithm=key.algorithm.value, state=state, until=until)


def _retired(era: Era) -> Iterator[KeyAsset]:
    keys = {"log": era.log, "log-pq": era.log_pq, "release": era.release, "release-pq": era.release_pq}
    for role, key in keys.items():
        if key is not None:
            state = COMPROMISED if role.removesuffix("-pq") in era.revoked else DEACTIVATED
            yield _pair(role, key, state, until=era.until)


def _workers(home: Home, trust: TrustRoot) -> Iterator[KeyAsset]:
    for place in sorted((home.folder / "workers").glob("*.dsse.json")):
        worker = verify_worker_key(place.read_bytes(), trust)
        gone = trust.revoked_worker(worker.public.id)
        yield KeyAsset(
            role="worker",
            id=worker.public.id,
            algorithm=worker.public.algorithm.value,
            state=ACTIVE if gone is None else COMPROMISED,
            created=worker.valid_from,
            until=None if gone is None else gone.time,
        )
