"""The changes that a home's storage is made of, one step each, and their judge after a power loss.

Each step is what one adapter promises to be durable when it returns. A sequence of them runs in a
prepared store under the journal, with a mark after each step: what is marked is acknowledged.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomaly.fault_injection import FaultLab
from anomaly.lost_writes import Loss, Run, journaled
from gatewright.adapters.durable_files import HomeLock, create_exclusively, write_atomically
from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.ledger_file import read_ledger, require_whole
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.kernel.digests import Digest
from gatewright.ledger.checkpoints import open_checkpoint
from gatewright.serving.segment_files import OPEN, SEALED, SegmentFiles
from gatewright.testing.ledger_contract import NOON, draft, latest
from gatewright.testing.signers import SeedSigner

_PERFORM = "anomaly.storage_steps:perform"
ORIGIN = "log.example/steps"
SIGNER = SeedSigner("log")
FIRST = b"what was there before"
HEAD, BATCHES = b"head\n", (b"first batch\n", b"second batch\n")


@dataclass(frozen=True, slots=True)
class Store:
    """The folder that the steps change."""

    root: Path

    @property
    def keys(self) -> KeyFolder:
        """The folder of keys, as one who opens it now sees it."""
        return KeyFolder(folder=self.root / "keys")

    @property
    def blobs(self) -> LocalBlobs:
        """The contents, under the data key and the one to come."""
        keys = self.keys
        return LocalBlobs(self.root / "blobs", keys.data_key(), also=keys.next_data_keys())

    @contextlib.contextmanager
    def ledger(self) -> Iterator[SqliteLedger]:
        """The ledger, under the lock."""
        with HomeLock(self.root / "lock"):
            opened = SqliteLedger(self.root / "ledger.db", signer=SIGNER, origin=ORIGIN, project=latest)
            try:
                yield opened
            finally:
                opened.close()


def content(number: int) -> bytes:
    """What step ``number`` keeps as a content; the third is the first again."""
    return b"content %d" % (number % 2)


def _blob(store: Store, number: int) -> None:
    store.blobs.put(content(number))


def _record(store: Store, number: int) -> None:
    with store.ledger() as ledger:
        ledger.append([draft(f"step{number}")], NOON)


def _plan(store: Store, number: int) -> None:
    write_atomically(store.root / "plan.dsse", b"plan %d" % number)


def _pack(store: Store, number: int) -> None:
    create_exclusively(store.root / f"pack{number}", b"pack %d" % number)


def _segment(store: Store, number: int) -> None:
    files = SegmentFiles(store.root / "segments")
    handle = files.create(f"s{number}", HEAD)
    for batch in BATCHES:
        files.append(handle, batch)
    files.seal(f"s{number}")
    files.close(handle)


def _again(store: Store, number: int) -> None:
    """What the recorder does with a segment whose disk failed: what it knows to be whole is kept anew."""
    files = SegmentFiles(store.root / "segments")
    handle = files.create(f"s{number}", HEAD)
    files.append(handle, BATCHES[0])
    files.close(handle)
    files.rewrite(f"s{number}", HEAD + b"".join(BATCHES))


def _key(store: Store, number: int) -> None:
    store.keys.create_person(f"person{number}")


def _rekey(store: Store, number: int) -> None:
    """Another data key: every content is under it before the old one goes."""
    del number
    keys = store.keys
    following = keys.make_next_data_key()
    blobs = store.blobs
    for digest in blobs.digests():
        blobs.rewrap(digest, following)
    keys.settle_data_key()


STEPS: Mapping[str, Callable[[Store, int], None]] = {
    "blob": _blob,
    "record": _record,
    "plan": _plan,
    "pack": _pack,
    "segment": _segment,
    "again": _again,
    "key": _key,
    "rekey": _rekey,
}
SEQUENCES = tuple(sequence for length in (1, 2, 3) for sequence in itertools.product(STEPS, repeat=length))


def prepare(root: Path) -> None:
    """A store that holds a record, a content and a plan."""
    for name in ("", "segments", "blobs"):
        (root / name).mkdir(mode=0o700)
    store = Store(root)
    store.keys.create()
    store.blobs.put(FIRST)
    _record(store, -1)
    write_atomically(root / "plan.dsse", FIRST)


def perform(home: Path, names: list[str]) -> None:
    """Take the steps, with a mark after each."""
    library = ctypes.CDLL(None)
    for number, name in enumerate(names):
        STEPS[name](Store(home), number)
        library.gw_mark(str(number).encode())


def run_steps(lab: FaultLab, names: Sequence[str], store: Path) -> Run:
    """A sequence of steps in a copy of the store."""
    return journaled(lab, _PERFORM, store, {"names": list(names)})


def judge_steps(root: Path, names: Sequence[str], run: Run, loss: Loss) -> None:
    """Assert that of what the loss leaves, written to ``root``, all holds.

    What was marked before the loss was acknowledged: it is there; and of the step after it all or nothing.
    """
    loss.leaves(run.disk, run.changes).write(root)
    done = sum(change.what == "mark" for change in run.changes[: loss.after])
    try:
        _judge(root, list(names), done)
    except Exception as error:
        raise AssertionError(f"{' '.join(names)}: {loss.name}: {error}") from error


def _judge(root: Path, names: list[str], done: int) -> None:
    store = Store(root)
    _judge_ledger(store, names, done)
    blobs = store.blobs
    assert FIRST == blobs.get(Digest.of(FIRST))
    for number, name in enumerate(names[: done + 1]):
        if name == "blob" and (number < done or blobs.has(Digest.of(content(number)))):
            assert content(number) == blobs.get(Digest.of(content(number))), f"the content of step {number}"
        if name in ("segment", "again"):
            _judge_segment(store, number, name, acknowledged=number < done)
        if name == "pack" and (number < done or (root / f"pack{number}").exists()):
            assert b"pack %d" % number == (root / f"pack{number}").read_bytes()
        if name == "key" and (number < done or f"person{number}" in store.keys.people()):
            store.keys.person(f"person{number}").sign(b"message")
    plans = [b"plan %d" % number for number, name in enumerate(names[:done]) if name == "plan"]
    coming = [b"plan %d" % done] if names[done : done + 1] == ["plan"] else []
    assert (root / "plan.dsse").read_bytes() in ([FIRST, *plans][-1], *coming)
    for name in names[done : done + 1] or names[-1:]:
        STEPS[name](store, 100)


def _judge_ledger(store: Store, names: list[str], done: int) -> None:
    place = store.root / "ledger.db"
    found = read_ledger(place)
    require_whole(place, origin=ORIGIN, key=SIGNER.public)
    head = open_checkpoint(found.checkpoint, origin=ORIGIN, key=SIGNER.public)
    acknowledged = 1 + names[:done].count("record")
    assert head.size == len(found.leaves)
    assert head.size in (acknowledged, acknowledged + (names[done : done + 1] == ["record"]))


def _judge_segment(store: Store, number: int, name: str, *, acknowledged: bool) -> None:
    """Sealed and whole where it is sealed, or where that was acknowledged; open, a beginning of it."""
    whole = HEAD + b"".join(BATCHES)
    files = store.root / "segments"
    sealed, begun = files / f"s{number}{SEALED}", files / f"s{number}{OPEN}"
    if acknowledged or sealed.exists():
        assert whole == sealed.read_bytes(), f"the segment of step {number}, {name}"
    if begun.exists():
        assert not acknowledged, f"the segment of step {number} is open still"
        assert whole.startswith(begun.read_bytes())
