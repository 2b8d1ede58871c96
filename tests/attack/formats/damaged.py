"""Every format that evidence comes in, damaged in structured ways; the test tries some, the campaign very many.

What is damaged is refused by an error of ours, or it is another value that is written exactly so:
nothing crashes, and no value has two spellings.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Note, checkpoint_text, read_checkpoint_text
from gatewright.ledger.log_receipts import LogReceipt
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.ledger.proofs import consistency_from, inclusion_from, verify_consistency
from gatewright.ledger.receipts import TOKEN_PREFIX, BatchStatement, PredictionRecord, Receipt
from gatewright.ledger.records import Draft, Record, place_in
from gatewright.ledger.segments import SegmentHeader, open_segment, scan
from gatewright.ledger.tiles import Tile, Tiling, bundle_of, lookup_in, read_bundle, read_tile
from gatewright.ledger.tree import inclusion_path, leaf_hash, root_of, verify_inclusion
from gatewright.ledger.witnessing import Declined, Submission, read_submission
from gatewright.releases.bundle import decode_bundle, decode_payload, sealed_bundle
from gatewright.releases.envelope import Envelope, sealed
from gatewright.releases.heads import log_keys
from gatewright.releases.in_toto import Statement
from gatewright.releases.trust import TrustRoot
from gatewright.testing.signers import QuantumSafeSeedSigner, SeedSigner
from unit.releases.workshop import ml_dsa, p256

ORIGIN = "example.com/log"
NOW = Instant(1_772_546_700_123_000_000)
LOG, LOG_PQ, WORKER = SeedSigner("log"), QuantumSafeSeedSigner("log"), SeedSigner("worker")
NUMBERS = (b"0", b"00", b"-1", b"-0", b"1.0", b"1e0", b"true", b"null", b"9007199254740993", b"1" * 5_000)
TOKENS = (
    *NUMBERS, b'"', b"\\", b"\\u0000", b"\n", b"\r", b"\x00", b"\xff", b"\xed\xa0\x80", b" ", b"{", b"[" * 70,
    b"}", b",", b":", b"=", b"+", b"/", b"-", b"\xe2\x80\x94 ", "\u2028".encode(), b"p/256", b"x001/",
)  # fmt: skip
VALUES: Sequence[Any] = (
    None, True, False, 0, -1, 1, 2**53 - 1, 2**53, 1.5, "", "\x00", "0" * 64, "g" * 64, "é", "\U0001f600", [], {},
    [[]], {"": 0}, "x" * 70_000,
)  # fmt: skip
EDITS = 3
"""Most things that are done to one sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: its valid samples, and reading one and writing again what was read; None where nothing writes it."""

    samples: tuple[bytes, ...]
    again: Callable[[bytes], bytes | None]


@dataclass(slots=True, kw_only=True)
class Tried:
    """How many damaged ones were refused, were other values, or broke a law; ``faults`` tells how."""

    refused: int = 0
    other: int = 0
    faults: list[str]


# ---- the samples ----------------------------------------------------------------------------------


@cache
def hashes() -> tuple[bytes, ...]:
    """The leaf hashes of a log of 300."""
    return tuple(leaf_hash(number.to_bytes(2, "big")) for number in range(300))


def record(seq: int, kind: str = "model.added", **body: Any) -> bytes:
    """A leaf of the log."""
    draft = Draft(
        kind=kind, actor="p-1", subject="loans@2", body=body, commitments={"name": Digest.of(b"name")}
    )
    return Record(seq=seq, time=NOW, draft=draft).encode()


@cache
def receipt() -> Receipt:
    """A receipt of the second of three predictions."""
    leaves = [prediction(seq) for seq in range(3)]
    roots = [leaf_hash(leaf) for leaf in leaves]
    statement = batch(root_of(roots))
    return Receipt(
        leaf=leaves[1],
        statement=statement,
        signature=WORKER.sign(statement),
        path=inclusion_path(roots, 1),
        input_salt=bytes(32),
        output_salt=bytes(range(32)),
    )


def prediction(seq: int) -> bytes:
    """A leaf of a segment."""
    return PredictionRecord(
        seq=seq,
        segment="00-a",
        time=NOW,
        endpoint="loans",
        release=Digest.of(b"release"),
        plan=3,
        key="k",
        request="é\n",
        input=Digest.of(b"i"),
        output=Digest.of(b"o"),
    ).encode()


def batch(root: bytes) -> bytes:
    """What the worker signs."""
    return BatchStatement(segment="00-a", first=0, size=3, root=root, worker=WORKER.public.id).encode()


def note() -> bytes:
    """A signed head."""
    text = checkpoint_text(ORIGIN, 300, root_of(hashes()))
    first, second = log_keys(ORIGIN, LOG.public, LOG_PQ.public)
    lines = (
        first.line(LOG.sign(first.message(text))),
        second.line(LOG_PQ.sign(second.message(text, 5)), 5),
    )
    return Note(text=text, signatures=lines).encode()


def log_receipt() -> bytes:
    """A proof, whole."""
    body = {"id": "00-a", "worker": WORKER.public.id, "records": 3, "root": "ab" * 32, "file": "cd" * 32}
    lookup = lookup_in(tiles().__getitem__, 300)
    return LogReceipt(
        token=receipt().token(),
        segment_path=receipt().path,
        index=7,
        record=record(7, "predictions.sealed", first=str(NOW), last=str(NOW), total=3, **body),
        path=inclusion_from(lookup, index=7, size=300),
        checkpoint=note(),
    ).encode()


@cache
def tiles() -> Mapping[Tile, bytes]:
    """The tiles over :func:`hashes`."""
    tiling = Tiling()
    found = dict(tiling.add(hashes()[:256])) | dict(tiling.add(hashes()[256:]))
    return found | dict(tiling.edge())


def trust_root(*, first: bool) -> bytes:
    """A trust root of the first format or of the second."""
    old = TrustRoot(origin=ORIGIN, release=p256().public, release_pq=ml_dsa().public, log=LOG.public)
    if first:
        return old.encode()
    witness = NoteKey(name="witness.example", type=SignatureType.ED25519_COSIGNATURE, raw=WORKER.public.raw())
    return TrustRoot(
        origin=ORIGIN,
        release=old.release,
        release_pq=old.release_pq,
        log=LOG.public,
        log_pq=LOG_PQ.public,
        root=p256().public,
        root_pq=ml_dsa().public,
        made=NOW,
        expires=Instant(2 * NOW.ns),
        witnesses=(witness.text(),),
        quorum=1,
    ).encode()


# ---- reading and writing again --------------------------------------------------------------------


def _checkpoint(data: bytes) -> bytes:
    found = read_checkpoint_text(data)
    root = base64.b64encode(found.root).decode()
    return f"{found.origin}\n{found.size}\n{root}\n".encode()


def _text(read: Callable[[str], str]) -> Callable[[bytes], bytes]:
    def again(data: bytes) -> bytes:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise BadInput("tests.not-text", "No text.") from None
        return read(text).encode()

    return again


def _submission(data: bytes) -> bytes:
    found = read_submission(data)
    if isinstance(found, Declined):
        raise BadInput("tests.declined", found.why)
    return found.encode()


def _record(data: bytes) -> bytes:
    """The quick way and the careful one say the same."""
    found = Record.decode(data)
    assert found == Record._decode(data)
    assert (found.seq, found.time.ns) == place_in(data)
    return found.encode()


def _canonical(data: bytes) -> bytes:
    """The quick way takes nothing that the careful one would not take, and reads it alike."""
    try:
        quick = canonical.decode_plain(data)
    except canonical.NotPlain:
        return canonical.encode(canonical.decode(data))
    careful = canonical.decode_any(data)
    assert repr(careful) == repr(quick)
    return canonical.encode(careful)


def _segment(data: bytes) -> None:
    found = scan(data)
    assert found.good_bytes <= len(data)


def _bundle(data: bytes) -> None:
    decode_payload(decode_bundle(data).payload)


def _envelope(data: bytes) -> bytes:
    return Envelope.decode(data).encode()


@cache
def formats() -> Mapping[str, Format]:
    """Every format, by name."""
    entries = [record(number) for number in range(3)]
    files = {"model.onnx": Digest.of(b"model"), "report.json": Digest.of(b"report")}
    envelope = sealed("application/vnd.in-toto+json", b'{"a":1}', (p256(), ml_dsa()))
    header = SegmentHeader(segment="00-a", worker=WORKER.public.id, opened=NOW, wrapped_key=bytes(60))
    submission = Submission(old=256, proof=hashes()[:5], note=note())
    statement = Statement(
        subjects={"release": Digest.of(b"root")}, predicate_type="https://example.com/p", predicate={"a": 1}
    )
    return {
        "canonical JSON": _of(_canonical, *entries, canonical.encode({"b": [1, 2.5, "é"], "a": {"c": None}})),
        "record": _of(_record, *entries, record(5, note="é", list=[1, "2", None], deep={"a": {"b": True}})),
        "prediction": _of(lambda data: PredictionRecord.decode(data).encode(), prediction(0), prediction(9)),
        "batch statement": _of(lambda data: BatchStatement.decode(data).encode(), batch(bytes(32))),
        "segment header": _of(lambda data: SegmentHeader.decode(data).encode(), header.encode()),
        "segment": _of(_segment, open_segment(header)),
        "receipt": _of(_text(lambda text: Receipt.parse(text).token()), receipt().token().encode()),
        "log receipt": _of(lambda data: LogReceipt.decode(data).encode(), log_receipt()),
        "note": _of(lambda data: Note.decode(data).encode(), note()),
        "checkpoint": _of(_checkpoint, checkpoint_text(ORIGIN, 300, bytes(32))),
        "verifier key": _of(
            _text(lambda text: NoteKey.parse(text).text()), _vkey(LOG.public.raw()), _vkey(bytes(32))
        ),
        "submission to a witness": _of(_submission, submission.encode()),
        "tile path": _of(
            _text(lambda text: Tile.parse(text).path()), b"tile/0/x001/x234/067", b"tile/entries/000.p/17"
        ),
        "tile": _of(lambda data: b"".join(read_tile(data, 3)), b"".join(hashes()[:3])),
        "entry bundle": _of(lambda data: bundle_of(read_bundle(data, 3)), bundle_of(entries)),
        "trust root": _of(
            lambda data: TrustRoot.decode(data).encode(), trust_root(first=True), trust_root(first=False)
        ),
        "envelope": _of(_envelope, envelope.encode()),
        "in-toto statement": _of(lambda data: Statement.decode(data).encode(), statement.encode()),
        "model signing bundle": _of(_bundle, sealed_bundle(files, p256())),
    }


def _of(again: Callable[[bytes], bytes | None], *samples: bytes) -> Format:
    return Format(samples=samples, again=again)


def _vkey(raw: bytes) -> bytes:
    return NoteKey(name=ORIGIN, type=SignatureType.ED25519, raw=raw).text().encode()


# ---- damaging -------------------------------------------------------------------------------------


def damaged(sample: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """The sample after one to three edits, of its bytes or of what they hold."""
    data = sample
    for _ in range(chance.randint(1, EDITS)):
        data = chance.choice(_EDITS)(data, others, chance)
    return data


def _span(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice((1, 1, 2, 4, 32, len(data))))


def _flip(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]


def _cut(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:start] + data[stop:]


def _repeat(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:stop] + data[start:stop] + data[stop:]


def _insert(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:start] + chance.choice(TOKENS) + data[chance.choice((start, stop)) :]


def _end(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _splice(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    return data[: _span(data, chance)[0]] + other[_span(other, chance)[0] :]


def _number(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    places = [at for at, letter in enumerate(data) if letter in b"0123456789"]
    if not places:
        return data
    at = chance.choice(places)
    return data[:at] + chance.choice(NUMBERS) + data[at + 1 :]


def _value(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """Another value somewhere in a JSON document, written canonically: past the first check of its form."""
    try:
        document = json.loads(data)
    except ValueError:
        return data
    places: list[tuple[Any, Any]] = []
    _places(document, places)
    if not places:
        return data
    inside, at = chance.choice(places)
    if isinstance(inside, dict) and chance.random() < 0.3:
        inside[chance.choice(["", "v", "format", at + "x", "é"])] = inside.pop(at)
    else:
        inside[at] = chance.choice(VALUES)
    try:
        return canonical.encode(document)
    except BadInput:
        return json.dumps(document).encode()


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    if isinstance(value, dict | list):
        for at in value if isinstance(value, dict) else range(len(value)):
            found.append((value, at))
            _places(value[at], found)


def _inside(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """A receipt's bytes below its base64."""
    prefix = TOKEN_PREFIX.encode()
    if not data.startswith(prefix):
        return _flip(data, others, chance)
    try:
        raw = base64.urlsafe_b64decode(data[len(prefix) :] + b"===")
    except ValueError:
        return data
    raw = chance.choice((_flip, _cut, _repeat, _insert))(raw, others, chance)
    return prefix + base64.urlsafe_b64encode(raw).rstrip(b"=")


_EDITS = (_flip, _cut, _repeat, _insert, _end, _splice, _number, _value, _inside)


def attempt(name: str, data: bytes, tried: Tried) -> None:
    """Read one damaged sample."""
    form = formats()[name]
    try:
        written = form.again(data)
    except GatewrightError:
        tried.refused += 1
    except Exception as error:  # noqa: BLE001 - each other error is a fault that is told
        tried.faults.append(f"{name}: {type(error).__name__}: {error}: {data[:400]!r}")
    else:
        tried.other += 1
        if written is not None and written != data:
            tried.faults.append(f"{name}: two spellings: {data[:400]!r} and {written[:400]!r}")


def try_formats(count: int, seed: int, names: Sequence[str] = ()) -> dict[str, Tried]:
    """Damage each format so many times."""
    found: dict[str, Tried] = {}
    for name in names or formats():
        chance, samples = random.Random(f"{seed}{name}"), formats()[name].samples  # noqa: S311 - repeatable
        found[name] = Tried(faults=[])
        for _ in range(count):
            attempt(name, damaged(chance.choice(samples), samples, chance), found[name])
    return found


def try_proofs(count: int, seed: int) -> int:
    """Damage so many inclusion and consistency proofs in a tree of 300; returns how many verified nevertheless."""
    chance, lookup, root = random.Random(seed), lookup_in(tiles().__getitem__, 300), root_of(hashes())  # noqa: S311
    verified = 0
    for _ in range(count):
        index = chance.randrange(300)
        path = inclusion_from(lookup, index=index, size=300)
        where, size, parts = _changed(index, 300, path, chance)
        same = (where, size, parts) == (index, 300, path)
        verified += not same and verify_inclusion(
            leaf=hashes()[index], index=where, size=size, path=parts, root=root
        )
        path = consistency_from(lookup, first=index + 1, second=300)
        first, second, parts = _changed(index + 1, 300, path, chance)
        same = (first, second, parts) == (index + 1, 300, path)
        verified += not same and verify_consistency(
            first=first,
            second=second,
            first_root=root_of(hashes()[: index + 1]),
            second_root=root,
            path=parts,
        )
    return verified


def _changed(
    index: int, size: int, path: tuple[bytes, ...], chance: random.Random
) -> tuple[int, int, tuple[bytes, ...]]:
    """Something else than the proof: another place, another size, other hashes."""
    parts = list(path)
    match chance.randrange(6):
        case 0:
            index = chance.choice((-1, index + 1, index - 1, index ^ 1, chance.randrange(300)))
        case 1:
            parts.insert(chance.randrange(len(parts) + 1), chance.choice((bytes(32), b"", *hashes()[:3])))
        case 2 if parts:
            parts.pop(chance.randrange(len(parts)))
        case 3 if parts:
            at = chance.randrange(len(parts))
            parts[at] = _flip(parts[at], (), chance)
        case 4 if len(parts) > 1:
            chance.shuffle(parts)
        case _:
            parts = [*parts, *parts[:1]] if parts else [bytes(32)]
    return index, size, tuple(parts)
