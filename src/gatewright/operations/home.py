"""What every operation is handed: the ports, the keys and the clock of one home.

The assembly fills it; operations neither choose an implementation nor read the clock themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.ledger.commitments import commit, preimage
from gatewright.ledger.records import Draft, Record
from gatewright.ports import Blobs, Ledger, Projections, Signer
from gatewright.releases.keys import PublicKey
from gatewright.releases.trust import TrustRoot

SALT_BYTES = 32


class Keys(Protocol):
    """The private keys of a home."""

    @property
    def release(self) -> Signer:
        """ECDSA P-256."""
        ...

    @property
    def release_pq(self) -> Signer:
        """ML-DSA-65."""
        ...

    @property
    def worker(self) -> Signer:
        """Ed25519, certified by the release keys."""
        ...

    @property
    def log(self) -> Signer:
        """Ed25519; signs checkpoints."""
        ...

    @property
    def log_pq(self) -> Signer:
        """ML-DSA-44; signs checkpoints, too."""
        ...

    @property
    def root(self) -> Signer:
        """ECDSA P-256; signs changes of the public keys. Raises Misuse where it was taken elsewhere."""
        ...

    @property
    def root_pq(self) -> Signer:
        """ML-DSA-65, beside it."""
        ...

    def make(self, name: str) -> Signer:
        """Make a further key of a home's, by the name of its file; it counts once a trust root names it."""
        ...

    def under(self, trust: TrustRoot, worker: str = "") -> Keys:
        """The same keys, those in force being the ones that a trust root (and a worker's key id) names."""
        ...

    def sweep(self) -> int:
        """Destroy the private halves of keys that are not in force; returns how many there were."""
        ...

    def person(self, name: str) -> Signer:
        """A person's P-256 key, by principal id; raises Misuse where there is none."""
        ...

    def create_person(self, name: str) -> PublicKey:
        """Make a person's key, named by principal id."""
        ...


class Archive(Ledger, Projections, Protocol):
    """The ledger with its projections, and the history it can answer for."""

    def require_tables(self) -> None:
        """Raise Tampered when a table was changed from outside."""
        ...

    def history(self, kinds: Sequence[str], until: Instant | None, *, start: int = 0) -> Iterator[Record]:
        """Records of the given kinds, in order, from number ``start`` up to and including ``until``."""
        ...

    def hand_over(
        self, drafts: Sequence[Draft], now: Instant, *, origin: str, signer: Signer, signer_pq: Signer | None
    ) -> tuple[Record, ...]:
        """Append under a head that other keys sign, as they do from then on: one transaction."""
        ...

    def position(self, moment: Instant) -> int:
        """How many records are not later than a moment."""
        ...

    def subtree(self, level: int, index: int) -> bytes:
        """The hash over the ``2**level`` records from number ``index << level`` on, which must all be there."""
        ...

    def inclusion(self, seq: int, size: int) -> tuple[bytes, ...]:
        """Path of record ``seq`` to the root over the first ``size`` records, lowest sibling first."""
        ...

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """Proof that the log of ``second`` records begins with that of ``first`` (RFC 9162 section 2.1.4)."""
        ...

    def newest(
        self, kinds: Sequence[str], *, below: int, subject: str = "", most: int = 1
    ) -> tuple[Record, ...]:
        """Up to ``most`` records of the kinds below a number, about a subject if given, the newest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """One opened home. ``folder`` is ``.gatewright``; ``root`` holds ``gatewright.toml``.

    Whoever decides and then records does both inside ``exclusive()``: nobody else records in
    between. It may be entered again by whoever is inside.
    """

    root: Path
    folder: Path
    origin: str
    archive: Archive
    blobs: Blobs
    keys: Keys
    trust: TrustRoot
    now: Callable[[], Instant]
    new_bytes: Callable[[int], bytes]
    write: Callable[[Path, bytes], None]
    exclusive: Callable[[], AbstractContextManager[object]]

    @property
    def plan_path(self) -> Path:
        """Where workers look for the signed traffic plan."""
        return self.folder / "plan.dsse"

    @property
    def policy_path(self) -> Path:
        """The policy that judges when no other is named."""
        return self.root / "policy.toml"

    @property
    def segments(self) -> Path:
        """Where workers write prediction records."""
        return self.folder / "segments"

    def conceal(self, payload: bytes) -> Digest:
        """Keep a personal payload encrypted and return its salted commitment."""
        salt = self.new_bytes(SALT_BYTES)
        self.blobs.put(preimage(salt, payload))
        return commit(salt, payload)

    def document(self, collection: str, key: str) -> JsonObject | None:
        """One projected document, or None."""
        return self.archive.get(collection, key)
