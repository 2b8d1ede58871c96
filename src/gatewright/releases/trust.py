"""``trust.json``: the public keys that a verifier must hold before it looks at any evidence.

It has to reach the verifier by another way than the evidence; its fingerprint is what people
compare. Law: ``TrustRoot.decode(t.encode()) == t``.

Format 2 is one *version* of a home's keys: the current ones, the retired and the revoked ones, the
witnesses of its log. A root pair of its own signs the step from each version to the next
(:mod:`gatewright.releases.trust_chain`), as The Update Framework's root role does. Format 1, which
has neither root pair nor history, is read and written as it was; there the release pair signs the
step to the first file of format 2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.releases.fields import Fields
from gatewright.releases.keys import Algorithm, PublicKey

TRUST_FORMAT = 2
TRUST_FORMAT_1 = 1
TRUST_BYTES = 1_048_576
ORIGIN_LENGTH = 256
ERAS = 64
WITNESSES = 16
REVOKED_WORKERS = 1_024
KEY_ID_LENGTH = 32

_CODE = "releases.trust"
_ALGORITHMS = {
    "log": Algorithm.ED25519,
    "log-pq": Algorithm.ML_DSA_44,
    "release": Algorithm.ECDSA_P256,
    "release-pq": Algorithm.ML_DSA_65,
    "root": Algorithm.ECDSA_P256,
    "root-pq": Algorithm.ML_DSA_65,
}
_FIRST = ("log", "release", "release-pq")
_ERA = ("log", "log-pq", "release", "release-pq")
_FIELDS = (
    "expires", "format", "keys", "made", "origin", "past", "quorum", "revoked-workers", "version",
    "witnesses",
)  # fmt: skip

REVOCABLE = ("log", "release")
"""The parts of a key set that can be revoked; each takes its post-quantum half with it."""

KeyPair: TypeAlias = tuple[PublicKey, PublicKey]


def _require_algorithms(keys: Mapping[str, PublicKey | None]) -> None:
    for place, key in keys.items():
        if key is not None and key.algorithm is not _ALGORITHMS[place]:
            raise BadInput(
                "releases.trust-algorithm",
                f"The {place} key must be {_ALGORITHMS[place]}, not {key.algorithm}.",
                place=place,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """Keys that spoke for a home until ``until``, when its log had ``records`` records.

    ``revoked`` names the parts (:data:`REVOCABLE`) that somebody else may hold: what they signed
    counts only where it was vouched for again. The others are retired, and prove what they signed.
    ``log_pq`` is None where the era began with a trust root of format 1.
    """

    origin: str
    release: PublicKey
    release_pq: PublicKey
    log: PublicKey
    log_pq: PublicKey | None
    until: Instant
    records: int
    revoked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        keys = {
            "release": self.release,
            "release-pq": self.release_pq,
            "log": self.log,
            "log-pq": self.log_pq,
        }
        _require_algorithms(keys)
        if tuple(sorted(set(self.revoked))) != self.revoked or not set(self.revoked) <= set(REVOCABLE):
            raise BadInput(_CODE, f"{self.revoked} does not name what was revoked.", place="revoked")

    @property
    def release_keys(self) -> KeyPair:
        """The two keys that signed together: P-256, then ML-DSA-65."""
        return (self.release, self.release_pq)

    def document(self) -> JsonObject:
        """The era as it stands in ``trust.json``."""
        return {
            "keys": {
                "log": self.log.text(),
                "log-pq": "" if self.log_pq is None else self.log_pq.text(),
                "release": self.release.text(),
                "release-pq": self.release_pq.text(),
            },
            "origin": self.origin,
            "records": self.records,
            "revoked": list(self.revoked),
            "until": str(self.until),
        }

    @classmethod
    def read(cls, fields: Fields) -> Era:
        """Read what :meth:`document` writes; raises BadInput for anything else."""
        fields.exactly("keys", "origin", "records", "revoked", "until")
        keys = fields.object("keys").exactly(*_ERA)
        return cls(
            origin=fields.text("origin", most=ORIGIN_LENGTH),
            release=PublicKey.from_text(keys.text("release")),
            release_pq=PublicKey.from_text(keys.text("release-pq")),
            log=PublicKey.from_text(keys.text("log")),
            log_pq=PublicKey.from_text(keys.text("log-pq")) if keys.text("log-pq") else None,
            until=fields.instant("until"),
            records=fields.whole("records"),
            revoked=_texts(fields, "revoked", most=len(REVOCABLE)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePair:
    """Two release keys that signed for a home, and until when: None while they are in force."""

    keys: KeyPair
    until: Instant | None
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedWorker:
    """A worker key (its id) that counts no more.

    What it signed is believed only in segments that the log had recorded among its first ``records``.
    """

    key: str
    time: Instant
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """The keys of one home, in one version.

    ``origin`` is the home's name in its log (C2SP checkpoint origin); ``release`` (P-256) and
    ``release_pq`` (ML-DSA-65) sign releases and decisions, ``log`` (Ed25519) and ``log_pq``
    (ML-DSA-44) checkpoints, ``root`` (P-256) and ``root_pq`` (ML-DSA-65) the next version of this
    file. What the keys sign after ``expires`` does not count. ``quorum`` of the ``witnesses`` (C2SP
    verifier keys) must have cosigned a head that is to be believed without question. Raises
    BadInput for a key of another algorithm than its place asks.
    """

    origin: str
    release: PublicKey
    release_pq: PublicKey
    log: PublicKey
    log_pq: PublicKey | None = None
    root: PublicKey | None = None
    root_pq: PublicKey | None = None
    version: int = 1
    made: Instant | None = None
    expires: Instant | None = None
    past: tuple[Era, ...] = ()
    revoked_workers: tuple[RevokedWorker, ...] = ()
    witnesses: tuple[str, ...] = ()
    quorum: int = 0

    def __post_init__(self) -> None:
        if not self.origin or len(self.origin) > ORIGIN_LENGTH:
            raise BadInput(_CODE, f"The origin must have 1 to {ORIGIN_LENGTH} characters.", place="origin")
        _require_algorithms(self._keys())
        later = (self.log_pq, self.root, self.root_pq, self.made, self.expires)
        bare = (self.version, self.past, self.revoked_workers, self.witnesses, self.quorum) == (
            1,
            (),
            (),
            (),
            0,
        )
        if any(each is None for each in later) and not (bare and all(each is None for each in later)):
            raise BadInput(_CODE, "Only a trust root of format 1 is without root and ML-DSA-44 keys.")
        self._require_distinct()
        if self.version < 1 or len(self.past) > ERAS or len(self.revoked_workers) > REVOKED_WORKERS:
            raise BadInput(_CODE, f"A trust root has a version from 1 and at most {ERAS} past key sets.")
        self._require_witnesses()

    def _require_distinct(self) -> None:
        """Each key has one role, and none that was revoked is in force."""
        keys = [key for key in self._keys().values() if key is not None]
        if len({key.id for key in keys}) != len(keys):
            raise BadInput("releases.trust-twice", "One key stands in two places of the trust root.")
        if len({one.key for one in self.revoked_workers}) != len(self.revoked_workers):
            raise BadInput("releases.trust-twice", "A worker key is revoked twice.", place="revoked-workers")
        gone = {
            key.id
            for era in self.past
            for part, pair in (("release", era.release_keys), ("log", (era.log, era.log_pq)))
            if part in era.revoked
            for key in pair
            if key is not None
        }
        if any(key.id in gone for key in keys):
            raise BadInput(
                "releases.trust-revoked",
                "A key that was revoked is in force again.",
                why="Somebody else may hold it.",
            )

    def _require_witnesses(self) -> None:
        keys = [NoteKey.parse(text) for text in self.witnesses]
        if len({key.name for key in keys}) < self.quorum or not 0 <= len(keys) <= WITNESSES:
            raise BadInput(
                _CODE, f"{len(keys)} witnesses cannot make a quorum of {self.quorum}.", place="quorum"
            )
        distinct = {key.raw for key in keys}  # one key under two names is one witness
        if len(distinct) != len(keys) or any(key.type is SignatureType.ED25519 for key in keys):
            raise BadInput(
                _CODE, "Each witness key is named once, and is one of a witness.", place="witnesses"
            )

    @property
    def format(self) -> int:
        """1 where there is no root pair, else 2."""
        return TRUST_FORMAT_1 if self.root is None else TRUST_FORMAT

    @property
    def release_keys(self) -> KeyPair:
        """The two keys that sign together now: P-256, then ML-DSA-65."""
        return (self.release, self.release_pq)

    @property
    def root_keys(self) -> KeyPair:
        """The two keys that sign the next version; in format 1 the release keys."""
        if self.root is None or self.root_pq is None:
            return self.release_keys
        return (self.root, self.root_pq)

    @property
    def release_pairs(self) -> tuple[ReleasePair, ...]:
        """Every release pair of this home, once, the one in force first."""
        pairs = {self.release_keys: ReleasePair(keys=self.release_keys, until=None, revoked=False)}
        for era in reversed(self.past):
            before = pairs.get(era.release_keys)
            pairs[era.release_keys] = ReleasePair(
                keys=era.release_keys,
                until=era.until if before is None else before.until,
                revoked="release" in era.revoked or (before is not None and before.revoked),
            )
        return tuple(pairs.values())

    @property
    def counting_keys(self) -> tuple[PublicKey, ...]:
        """The release keys whose signatures count, in force or retired; of revoked ones none does."""
        return tuple(key for pair in self.release_pairs if not pair.revoked for key in pair.keys)

    def vouches(self, signed_by: Collection[PublicKey], time: Instant | None = None) -> bool:
        """Whether both keys of a pair that counts signed, and at ``time`` (where that is stated) might.

        Keys in force sign until ``expires``, retired ones until they were retired.
        """
        for pair in self.release_pairs:
            early = time is None or _might_sign(pair, self.expires, time)
            if not pair.revoked and early and set(pair.keys) <= set(signed_by):
                return True
        return False

    def counts(self, key: PublicKey, time: Instant) -> bool:
        """Whether a release key of a pair that counts might sign at ``time``, as :meth:`vouches` says of both."""
        return any(
            key in pair.keys and not pair.revoked and _might_sign(pair, self.expires, time)
            for pair in self.release_pairs
        )

    def revoked_worker(self, key: str) -> RevokedWorker | None:
        """The revocation of a worker key, by its id, or None."""
        return next((one for one in self.revoked_workers if one.key == key), None)

    @property
    def origins(self) -> frozenset[str]:
        """The names that this home had in its log, the one of now included."""
        return frozenset((self.origin, *(era.origin for era in self.past)))

    @property
    def witness_keys(self) -> tuple[NoteKey, ...]:
        """The keys of the witnesses."""
        return tuple(NoteKey.parse(text) for text in self.witnesses)

    def _keys(self) -> Mapping[str, PublicKey | None]:
        return {
            "log": self.log,
            "log-pq": self.log_pq,
            "release": self.release,
            "release-pq": self.release_pq,
            "root": self.root,
            "root-pq": self.root_pq,
        }

    def encode(self) -> bytes:
        """Canonical JSON."""
        keys: JsonObject = {place: key.text() for place, key in self._keys().items() if key is not None}
        first: JsonObject = {"format": self.format, "keys": keys, "origin": self.origin}
        if self.format == TRUST_FORMAT_1:
            return canonical.encode(first)
        return canonical.encode(
            {
                **first,
                "expires": str(self.expires),
                "made": str(self.made),
                "past": [era.document() for era in self.past],
                "quorum": self.quorum,
                "revoked-workers": [
                    {"key": one.key, "records": one.records, "time": str(one.time)}
                    for one in self.revoked_workers
                ],
                "version": self.version,
                "witnesses": list(self.witnesses),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> TrustRoot:
        """Read a trust root; raises BadInput for anything that :meth:`encode` would not write."""
        if len(data) > TRUST_BYTES:
            raise BadInput(_CODE, f"The trust root takes {len(data):,} bytes.")
        fields = Fields.read(canonical.decode(data), of="the trust root", code=_CODE)
        if fields.value.get("format") == TRUST_FORMAT_1:
            return cls._first(fields)
        fields.exactly(*_FIELDS).constant("format", TRUST_FORMAT)
        keys = fields.object("keys").exactly(*_ALGORITHMS)
        found = cls(
            origin=fields.text("origin", most=ORIGIN_LENGTH),
            **{place.replace("-", "_"): PublicKey.from_text(keys.text(place)) for place in _ALGORITHMS},
            version=fields.whole("version"),
            made=fields.instant("made"),
            expires=fields.instant("expires"),
            past=tuple(Era.read(one) for one in fields.objects("past", least=0, most=ERAS)),
            revoked_workers=tuple(
                _revoked(one) for one in fields.objects("revoked-workers", least=0, most=REVOKED_WORKERS)
            ),
            witnesses=_texts(fields, "witnesses", most=WITNESSES),
            quorum=fields.whole("quorum"),
        )
        if found.encode() != data:
            raise BadInput(_CODE, "The trust root is not in its one form.")
        return found

    @classmethod
    def _first(cls, fields: Fields) -> TrustRoot:
        """Format 1, frozen."""
        fields.exactly("format", "keys", "origin").constant("format", TRUST_FORMAT_1)
        keys = fields.object("keys").exactly(*_FIRST)
        return cls(
            origin=fields.text("origin", most=ORIGIN_LENGTH),
            release=PublicKey.from_text(keys.text("release")),
            release_pq=PublicKey.from_text(keys.text("release-pq")),
            log=PublicKey.from_text(keys.text("log")),
        )

    def fingerprint(self) -> Digest:
        """Digest of the encoded trust root: what people compare by another channel."""
        return Digest.of(self.encode())


def _might_sign(pair: ReleasePair, expires: Instant | None, time: Instant) -> bool:
    """Whether a pair was in force at ``time``: until it was retired, or until the keys of now expire."""
    last = expires if pair.until is None else pair.until
    return last is None or time <= last


def _revoked(fields: Fields) -> RevokedWorker:
    fields.exactly("key", "records", "time")
    return RevokedWorker(
        key=fields.text("key", most=KEY_ID_LENGTH),
        records=fields.whole("records"),
        time=fields.instant("time"),
    )


def _texts(fields: Fields, name: str, *, most: int) -> tuple[str, ...]:
    value = fields.value.get(name)
    if not isinstance(value, list) or len(value) > most or not all(isinstance(one, str) for one in value):
        raise fields.refuse(name, f"a list of at most {most} texts")
    return tuple(str(one) for one in value)
