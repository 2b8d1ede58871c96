"""An operator with disk, database and every key but the witness's, who forges the log in ten ways.

The log is written by the product; what is forged is written by hand, as somebody would who knows the
formats. The witness has a key of its own and saw the log once, when it was honest. A third party has
the forged log, the owner's public keys and one thing from before: the cosigned checkpoint, the copy
of the log that it lay in, or the receipt of an answer. ``bench/campaign.py`` runs the same with more records.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.log_signing import HeadSigning
from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.assembly.homes import create_home, open_home
from gatewright.deployments.plan import Recording
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Checkpoint, Note
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.ledger.receipts import BatchStatement, PredictionRecord, Receipt
from gatewright.ledger.records import Draft, Record
from gatewright.ledger.tiles import ENTRIES, TILE_WIDTH, Tile, Tiling, bundle_of, read_bundle, width_in
from gatewright.ledger.tree import inclusion_path, leaf_hash, root_of
from gatewright.ledger.witnessing import Cosigner, Declined, KnownLog, Submission, cosign, decide, empty_head
from gatewright.operations.catalogue import Segment, body_of
from gatewright.operations.log_export import export
from gatewright.operations.projections import project
from gatewright.releases.heads import log_keys, open_head
from gatewright.releases.trust import TrustRoot
from gatewright.testing.signers import SeedSigner
from scenario.world import Ran, inside

SECOND = 10**9
HOUR = 3_600 * SECOND
APPENDS = 5
"""The records come in so many appends, an hour apart."""
TENANTS = ("loans", "cards", "rents")
SEALED_EACH = 10
"""One record in so many is a sealed segment; the others belong to tenants."""
PROMISED_IN = 1
"""The append in which the promised segment is recorded, from 0."""
WITNESS = SeedSigner("witness")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What there was when all was honest: the leaves, and the folders ``home``, ``kept`` and ``owner`` in ``place``.

    ``promised`` is the record of the segment whose receipt lies in ``answer.json``.
    """

    place: Path
    leaves: tuple[bytes, ...]
    trust: TrustRoot
    promised: int

    @property
    def signing(self) -> HeadSigning:
        """The log's own keys: the operator has them."""
        keys = KeyFolder(folder=self.place / "home" / ".gatewright" / "keys", passphrase=None)
        return HeadSigning(origin=self.trust.origin, signer=keys.log, signer_pq=keys.log_pq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a third party is told of one forgery.

    ``alone`` and ``bare`` are the exit codes with nothing else, and with a cosigned checkpoint alone;
    ``declined`` says that the witness, which cosigned the honest head, refuses the forged one.
    """

    done: str
    has: str
    code: int
    says: str
    where: str
    expected: int
    alone: int
    bare: int
    declined: bool

    @property
    def convicted(self) -> bool:
        """Exit code 3, with the first bad record."""
        return self.code == 3 and self.where == f"record {self.expected}"


def honest(place: Path, size: int) -> World:
    """Make the home and its log of ``size`` records, a multiple of five, have the witness see it, and keep what is kept."""
    create_home(place / "home", "ada")
    with open_home(place / "home") as opened:
        keys = KeyFolder(folder=opened.folder / "keys", passphrase=None)
        archive = SqliteLedger(
            place / "ledger.db", signer=keys.log, signer_pq=keys.log_pq, origin=opened.origin, project=project
        )
        home = replace(opened, archive=archive)
        start = home.now()
        receipt, segment = _promise(home.keys.worker, Instant(start.ns + PROMISED_IN * HOUR))
        for number in range(APPENDS):
            moment = Instant(start.ns + number * HOUR)
            home.archive.append(list(_drafts(number, size // APPENDS, moment, segment)), moment)
        trust = replace(home.trust, witnesses=(_witness_key().text(),), quorum=1)
        export(replace(home, trust=trust), place / "kept")
        leaves = tuple(home.archive.leaves())
        archive.close()
        shutil.copytree(home.folder / "workers", place / "owner" / "workers")
    (place / "owner" / "trust.json").write_bytes(trust.encode())
    (place / "answer.json").write_text(json.dumps({"parameters": {"receipt": receipt.token()}}), "utf-8")
    promised = next(at for at, leaf in enumerate(leaves) if segment.id.encode() in leaf)
    world = World(place=place, leaves=leaves, trust=trust, promised=promised)
    note = (place / "kept" / "checkpoint").read_bytes()
    cosigned = witnessed(world, note, empty_head(trust.origin))
    assert cosigned is not None
    (place / "kept" / "checkpoint").write_bytes(cosigned)
    (place / "checkpoint").write_bytes(cosigned)
    return world


def _promise(worker: object, moment: Instant) -> tuple[Receipt, Segment]:
    """A receipt of the first of three predictions of a segment, and the segment."""
    name = f"{moment.ns:020d}-promised"
    public = worker.public  # type: ignore[attr-defined]
    records = [
        PredictionRecord(
            seq=seq,
            segment=name,
            time=moment,
            endpoint="loans",
            release=Digest.of(b"release"),
            plan=1,
            key="0123456789abcdef",
            request="",
            input=Digest.of(b"input"),
            output=Digest.of(b"output"),
            recording=Recording.DURABLE,
        )
        for seq in range(3)
    ]
    leaves = [each.encode() for each in records]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    statement = BatchStatement(segment=name, first=0, size=3, root=root_of(hashes), worker=public.id).encode()
    receipt = Receipt(
        leaf=leaves[0],
        statement=statement,
        signature=worker.sign(statement),  # type: ignore[attr-defined]
        path=inclusion_path(hashes, 0),
        input_salt=bytes(32),
        output_salt=bytes(32),
    )
    return receipt, _segment(name, moment, Digest.from_raw(root_of(hashes)), public.id)


def _segment(name: str, moment: Instant, root: Digest, worker: str) -> Segment:
    return Segment(
        id=name, worker=worker, records=3, root=root, file=root, first=str(moment), last=str(moment), total=3
    )


def _drafts(append: int, count: int, moment: Instant, promised: Segment) -> Iterator[Draft]:
    for number in range(count):
        if number == count // 2 and append == PROMISED_IN:
            yield Draft(kind="predictions.sealed", actor="p", subject=promised.id, body=body_of(promised))
        elif number % SEALED_EACH == 0:
            name = f"{moment.ns:020d}-{append}-{number}"
            entry = _segment(name, moment, Digest.of(name.encode()), promised.worker)
            yield Draft(kind="predictions.sealed", actor="p", subject=name, body=body_of(entry))
        else:
            yield Draft(kind="tenant.noted", actor="p", subject=TENANTS[number % len(TENANTS)])


def _witness_key() -> NoteKey:
    return NoteKey(name="witness.example", type=SignatureType.ED25519_COSIGNATURE, raw=WITNESS.public.raw())


def witnessed(world: World, note: bytes, latest: Checkpoint) -> bytes | None:
    """What the witness answers who cosigned ``latest`` last: the cosigned note, or None where it declines."""
    keys = log_keys(world.trust.origin, world.trust.log, world.trust.log_pq)
    known = KnownLog(origin=world.trust.origin, keys=keys)
    found = decide(Submission(old=latest.size, proof=(), note=note), known, latest)
    if isinstance(found, Declined):
        return None
    return cosign(found.note, [Cosigner(key=_witness_key(), sign=WITNESS.sign)], 1_800_000_000).encode()


# ---- forging --------------------------------------------------------------------------------------


def renumbered(leaves: Sequence[bytes], start: int) -> tuple[bytes, ...]:
    """The leaves with the numbers that they must have, from ``start`` on; no time goes backwards."""
    made, time = list(leaves[:start]), Instant(0)
    for number, leaf in enumerate(leaves[start:], start):
        record = Record.decode(leaf)
        time = max(time, record.time)
        made.append(replace(record, seq=number, time=time).encode())
    return tuple(made)


def rebuilt(world: World, leaves: Sequence[bytes]) -> None:
    """Write a whole log with its tiles over ``log``, signed by the log's own keys."""
    folder = world.place / "log"
    shutil.rmtree(folder)
    tiling, content = Tiling(), dict[Tile, bytes]()
    for index, start in enumerate(range(0, len(leaves), TILE_WIDTH)):
        group = leaves[start : start + TILE_WIDTH]
        content[Tile(level=ENTRIES, index=index, width=len(group))] = bundle_of(group)
        content |= dict(tiling.add([leaf_hash(leaf) for leaf in group]))
    for tile, data in (content | dict(tiling.edge())).items():
        (folder / tile.path()).parent.mkdir(parents=True, exist_ok=True)
        (folder / tile.path()).write_bytes(data)
    note = world.signing.note(len(leaves), tiling.root(), Instant(1_800_000_000 * SECOND))
    (folder / "checkpoint").write_bytes(note)


def _other(leaf: bytes, old: bytes, new: bytes) -> bytes:
    """The leaf with one thing replaced, as long as before."""
    found = leaf.replace(old, new)
    assert found != leaf and len(found) == len(leaf)  # noqa: PT018 - both at once
    return found


def _bundle(world: World, index: int) -> Path:
    number = index // TILE_WIDTH
    width = width_in(len(world.leaves), ENTRIES, number)
    return world.place / "log" / Tile(level=ENTRIES, index=number, width=width).path()


def _place(world: World, tenant: str) -> int:
    """A record of a tenant, past a third of the log."""
    start = len(world.leaves) // 3
    wanted = f'"subject":"{tenant}"'.encode()
    return next(at for at in range(start, len(world.leaves)) if wanted in world.leaves[at])


def flip_a_byte(world: World) -> int:
    """One byte of a stored record."""
    at = _place(world, "loans")
    place = _bundle(world, at)
    data = place.read_bytes()
    changed = _other(world.leaves[at], b'"loans"', b'"loanz"')
    place.write_bytes(data.replace(world.leaves[at], changed))
    assert read_bundle(place.read_bytes(), width_in(len(world.leaves), ENTRIES, at // TILE_WIDTH))
    return at


def delete_the_last(world: World) -> int:
    """The newest record, and everything signed again."""
    rebuilt(world, world.leaves[:-1])
    return len(world.leaves) - 1


def remove_one(world: World) -> int:
    """One in the middle; all after it get new numbers, and everything is signed again."""
    at = _place(world, "cards")
    rebuilt(world, renumbered([*world.leaves[:at], *world.leaves[at + 1 :]], at))
    return at


def swap_two(world: World) -> int:
    """Two neighbours, numbers and all, and everything is signed again."""
    at = _place(world, "loans")
    pair = [world.leaves[at + 1], world.leaves[at]]
    rebuilt(world, renumbered([*world.leaves[:at], *pair, *world.leaves[at + 2 :]], at))
    return at


def fork(world: World) -> int:
    """Another history of the same length from some record on."""
    at = len(world.leaves) // 2
    later = [_forked(leaf) for leaf in world.leaves[at:]]
    rebuilt(world, [*world.leaves[:at], *later])
    return at


def _forked(leaf: bytes) -> bytes:
    record = Record.decode(leaf)
    return replace(record, draft=replace(record.draft, actor="q")).encode()


def restore_yesterday(world: World) -> int:
    """The state of an earlier append, and then other records on top, more than there were."""
    at = len(world.leaves) * 4 // APPENDS
    later = [_forked(leaf) for leaf in world.leaves[at:]]
    rebuilt(world, renumbered([*world.leaves[:at], *later, *later[-5:]], at))
    return at


def lengthen_a_tile(world: World) -> int:
    """A record more in the last bundle and its tile than the signed checkpoint covers."""
    size = len(world.leaves)
    index, width = divmod(size, TILE_WIDTH)
    group = [*world.leaves[index * TILE_WIDTH :], world.leaves[-1]]
    for level, content in ((ENTRIES, bundle_of(group)), (0, b"".join(map(leaf_hash, group)))):
        place = world.place / "log" / Tile(level=level, index=index, width=width + 1).path()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return size


def replace_one(world: World) -> int:
    """One record by another of equal length, and everything signed again."""
    at = _place(world, "rents")
    rebuilt(
        world, [*world.leaves[:at], _other(world.leaves[at], b'"rents"', b'"cards"'), *world.leaves[at + 1 :]]
    )
    return at


def drop_a_tenant(world: World) -> int:
    """Every record of one tenant; the others get new numbers, and everything is signed again."""
    gone = [at for at, leaf in enumerate(world.leaves) if b'"subject":"rents"' in leaf]
    dropped = set(gone)
    left = [leaf for at, leaf in enumerate(world.leaves) if at not in dropped]
    rebuilt(world, renumbered(left, gone[0]))
    return gone[0]


def drop_a_prediction(world: World) -> int:
    """The record of a segment, before the witness ever saw it: the witness cosigns what it is shown."""
    left = [*world.leaves[: world.promised], *world.leaves[world.promised + 1 :]]
    rebuilt(world, renumbered(left, world.promised))
    checkpoint = world.place / "log" / "checkpoint"
    cosigned = witnessed(world, checkpoint.read_bytes(), empty_head(world.trust.origin))
    assert cosigned is not None
    checkpoint.write_bytes(cosigned)
    forged = read_entries(world, len(left))
    hour = json.loads(world.leaves[world.promised])["body"]["last"]
    return next(
        at
        for at in range(world.promised, len(forged))
        if b'"predictions.sealed"' in forged[at] and json.loads(forged[at])["body"]["first"] > hour
    )


def read_entries(world: World, size: int) -> list[bytes]:
    """The entries of the forged log."""
    found: list[bytes] = []
    for index in range(-(-size // TILE_WIDTH)):
        tile = Tile(level=ENTRIES, index=index, width=width_in(size, ENTRIES, index))
        found += read_bundle((world.place / "log" / tile.path()).read_bytes(), tile.width)
    return found


LOG, COPY, NOTE = ("log",), ("log", "--kept", "kept"), ("log", "--kept", "checkpoint")
PROMISE = ("answer.json", "--log", "log")
HAS: Mapping[Sequence[str], str] = {
    LOG: "nothing else",
    COPY: "a copy of the log with a cosigned checkpoint",
    NOTE: "a cosigned checkpoint",
    PROMISE: "the receipt of an answer",
}
Forge = Callable[[World], int]
FORGERIES: Sequence[tuple[str, Forge, Sequence[str]]] = (
    ("flips a byte of a record", flip_a_byte, LOG),
    ("deletes the last record and signs again", delete_the_last, NOTE),
    ("removes a record in the middle, renumbers, rebuilds and signs", remove_one, COPY),
    ("swaps two records, renumbers, rebuilds and signs", swap_two, COPY),
    ("shows another history of the same length, signed", fork, COPY),
    ("restores yesterday and goes on", restore_yesterday, COPY),
    ("makes a tile longer than the signed checkpoint", lengthen_a_tile, LOG),
    ("replaces a record by one of equal length, rebuilds and signs", replace_one, COPY),
    ("drops every record of one tenant, renumbers, rebuilds and signs", drop_a_tenant, COPY),
    ("drops a promised segment before the witness saw it", drop_a_prediction, PROMISE),
)
"""What is done, how, and what a third party gives ``gatewright verify``."""


def convicted(world: World, done: str, forge: Forge, words: Sequence[str]) -> Verdict:
    """Forge a copy of the honest log, and have a third party verify it."""
    log = world.place / "log"
    shutil.rmtree(log, ignore_errors=True)
    shutil.copytree(world.place / "kept", log)
    expected = forge(world)
    ran = third_party(world, words)
    error = ran.error if ran.code else {"what": "It holds.", "place": ""}
    return Verdict(
        done=done,
        has=HAS[words],
        code=ran.code,
        says=error["what"],
        where=error["place"].partition(" (")[0],
        expected=expected,
        alone=third_party(world, LOG).code,
        bare=third_party(world, NOTE).code,
        declined=declined(world),
    )


def third_party(world: World, words: Sequence[str]) -> Ran:
    """``gatewright verify`` with the owner's public keys."""
    return inside(world.place, "verify", *words, "--trust", "owner", "--json")


def declined(world: World) -> bool:
    """Whether the witness, which cosigned the honest head, refuses the forged one."""
    latest = open_head((world.place / "kept" / "checkpoint").read_bytes(), world.trust).checkpoint
    note = Note.decode((world.place / "log" / "checkpoint").read_bytes()).encode()
    return witnessed(world, note, latest) is None
