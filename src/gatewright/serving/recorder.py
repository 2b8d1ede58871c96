"""Last step of a request: a durable, signed record; only then the answer.

Requests hand in entries and wait. Whenever the disk is free, all that wait become one batch (leaves,
encrypted payloads, one Merkle root, one signature), composed on the event loop; one thread writes
and syncs it, and the answers go: group commit, so the cost of a sync is shared by whoever came
meanwhile. The thread does little but wait for the disk, where it does not hold the interpreter's
lock, so that it and the loop do not wait for each other.

After an error of the disk the segment is never written again: what the page cache holds of it is
not trusted. Its entries are refused (503), the part that was synced before is copied into a
sealed file, and the next batch begins a new segment. While none can be begun the recorder says so
through ``healthy`` and tries again by itself.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatewright.kernel.errors import Refusal, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.commitments import preimage
from gatewright.ledger.receipts import (
    SALT_BYTES,
    SEAL_KIND,
    BatchStatement,
    batch_paths,
    format_leaf,
    pack_batch,
    pack_token,
    quote,
)
from gatewright.ledger.segments import (
    BATCH,
    KEY_BYTES,
    NONCE_BYTES,
    SEAL,
    SEGMENT_RECORDS,
    SegmentHeader,
    open_segment,
    pack_payload,
    pack_record,
    pack_statement,
    scan,
    wrap_key,
)
from gatewright.ledger.tree import leaf_hash
from gatewright.ports import Signer
from gatewright.serving.limits import RECORD_TIME
from gatewright.serving.open_segment import OpenSegment
from gatewright.serving.segment_disk import SegmentDisk

SEGMENT_SECONDS = 2.0
SEGMENT_BYTES = 256 * 2**20
RETRY_SECONDS = 0.5
NAME_BYTES = 8
COMPOSE_BYTES = 262_144
"""A batch of more payload is composed by the thread: hashing it would hold up the event loop."""

Report = Callable[[Refusal], None]


class NotRecorded(Exception):
    """The record could not be made durable; the answer must not be given."""


@dataclass(slots=True)
class Entry:
    """A prediction that waits for its record.

    ``parts`` are :func:`~gatewright.ledger.receipts.leaf_parts`; ``inputs`` and ``outputs`` the
    encodings that are committed to; ``done`` takes the token of the receipt.
    """

    parts: tuple[str, str, str]
    request: str
    inputs: bytes
    outputs: bytes
    done: asyncio.Future[str]


Composed = tuple[bytes, list[bytes], list[str]]
"""Frames of a batch, its leaf hashes, and the tokens of its receipts."""


@dataclass(slots=True)
class _Batch:
    """What the thread is to write; ``composed`` is None where it is to compose it, too."""

    entries: list[Entry]
    composed: Composed | None


class Recorder:
    """Writes prediction records. ``submit`` on the event loop; the disk's work in a thread of its own.

    The segment belongs to the thread, but while ``_free`` it stands still and the loop may look at it:
    whoever ends that, ends it under ``_wake``.

    ``home_key`` wraps each segment's data key; ``entropy`` gives random bytes; ``report`` is told
    what a person should know, from either thread.
    """

    def __init__(
        self,
        *,
        disk: SegmentDisk,
        signer: Signer,
        home_key: bytes,
        clock: Callable[[], Instant],
        report: Report,
        entropy: Callable[[int], bytes] = os.urandom,
        seconds: float = SEGMENT_SECONDS,
        records: int = SEGMENT_RECORDS,
    ) -> None:
        self._disk = disk
        self._signer = signer
        self._worker = signer.public.id
        self._home_key = home_key
        self._clock = clock
        self._report = report
        self._entropy = entropy
        self._seconds = seconds
        self._records = records
        self._last = Instant(0)
        self._fault: str | None = None
        self._segment: OpenSegment | None = None
        self._abandoned: list[OpenSegment] = []
        self._gathered: list[Entry] = []
        self._writing: list[Entry] = []
        self._since = 0.0
        self._free = False
        self._batch: _Batch | None = None
        self._wake = threading.Condition()
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._opened = False
        self._stuck = False

    @property
    def healthy(self) -> bool:
        """Whether a prediction would be recorded now, as far as is known."""
        return self._opened and not self._stuck and self._thread.is_alive()

    # On the event loop.

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Seal what a crash left, open the first segment, and begin."""
        self._loop = loop
        self.recover()
        self._try_open()
        self._thread.start()

    def submit(
        self, parts: tuple[str, str, str], request: str, inputs: bytes, outputs: bytes
    ) -> asyncio.Future[str]:
        """Ask for a record; the future gives the receipt's token, or raises :class:`NotRecorded`."""
        assert self._loop is not None  # noqa: S101 - start comes first
        done = self._loop.create_future()
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
            if not self._writing:
                self._since = monotonic()
        self._gathered.append(Entry(parts, quote(request), inputs, outputs, done))
        return done

    def _hand_over(self) -> None:
        """Give the thread all that was gathered as one batch; when it is not free, it asks later."""
        with self._wake:
            if not self._free:
                return
            self._stuck = False
            if not self._gathered:
                return
            segment = self._segment
            self._free = segment is None
        if segment is None:
            self._refuse_all()
            return
        room = max(1, self._records - segment.size)
        self._writing, self._gathered = self._gathered[:room], self._gathered[room:]
        self._since = monotonic()
        batch = _Batch(self._writing, self._compose_here(segment, self._writing))
        with self._wake:
            self._batch = batch
            self._wake.notify()

    def _compose_here(self, segment: OpenSegment, entries: list[Entry]) -> Composed | None:
        """A small batch, composed; what fails here fails again in the thread, which knows what to do."""
        if sum(len(entry.inputs) + len(entry.outputs) for entry in entries) > COMPOSE_BYTES:
            return None
        try:
            return self._compose(segment, entries)
        except Exception:  # noqa: BLE001 - see above
            return None

    def refuse_stuck(self) -> None:
        """Refuse what waits for a disk that does not come back; called every now and then.

        What waits may be a batch that is written, or requests that came while a segment is sealed,
        opened or salvaged; ``_since`` is when either began to wait.
        """
        late = monotonic() - self._since > RECORD_TIME.value or not self._thread.is_alive()
        if late and (self._writing or self._gathered):
            self._stuck = True
            self._refuse_all()

    def _refuse_all(self) -> None:
        stuck, self._writing, self._gathered = [*self._writing, *self._gathered], [], []
        self._settle(stuck, None)

    def close(self) -> None:
        """Write what waits, seal, and end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(RECORD_TIME.value)

    def _answer(self, entries: Sequence[Entry], tokens: Sequence[str] | None) -> None:
        """Let the answers of a batch go, and begin the next one."""
        if self._writing is entries:  # not where the next batch was handed over meanwhile
            self._writing = []
            self._since = monotonic()
        self._settle(entries, tokens)
        self._hand_over()

    def _settle(self, entries: Sequence[Entry], tokens: Sequence[str] | None) -> None:
        for place, entry in enumerate(entries):
            if entry.done.done():
                continue
            if tokens is None:
                entry.done.set_exception(NotRecorded())
            else:
                entry.done.set_result(tokens[place])

    # In the thread.

    def _work(self) -> None:
        self._release(self._hand_over)
        while True:
            batch = self._next()
            if batch is None and self._closing and not self._left():
                break
            settled = (self._answer, batch.entries, self._write_or_refuse(batch)) if batch else None
            if settled and not self._to_tend():
                self._release(*settled)
                continue
            if settled:
                self._call(*settled)
            self._tend()
            self._release(self._hand_over)
        self._end()

    def _release(self, then: Callable[..., None], *values: object) -> None:
        """Let the loop have the segment, and do what comes next."""
        self._free = True
        self._call(then, *values)

    def _next(self) -> _Batch | None:
        """Wait for a batch, or until something else is to be done (None); the segment is the thread's again."""
        with self._wake:
            while self._batch is None:
                over = self._closing and not self._left()
                if self._free and (over or not self._wake.wait(self._pause())) and self._free:
                    self._free = False
                    return None
                if not self._free:
                    self._wake.wait_for(lambda: self._batch is not None)
            batch, self._batch = self._batch, None
        return batch

    def _left(self) -> bool:
        """Whether the loop, while there is one, still has something to hand over."""
        return bool(self._gathered) and self._loop is not None and not self._loop.is_closed()

    def _call(self, what: Callable[..., None], *values: object) -> None:
        """Have the loop do something soon."""
        assert self._loop is not None  # noqa: S101 - start comes first
        with suppress(RuntimeError):  # it was closed meanwhile: nobody waits there any more
            self._loop.call_soon_threadsafe(what, *values)

    def _pause(self) -> float:
        """How long nothing needs to be done when nobody comes."""
        segment = self._segment
        if segment is None or self._abandoned:
            return RETRY_SECONDS
        return max(0.0, segment.first_at + self._seconds - monotonic()) if segment.size else self._seconds

    def _to_tend(self) -> bool:
        segment = self._segment
        return segment is None or bool(self._abandoned) or (bool(segment.size) and self._is_full(segment))

    def _tend(self) -> None:
        """Seal a segment of full age or size, and see to it that there is one to write to."""
        segment = self._segment
        if segment is not None and segment.size and self._is_full(segment):
            self._seal(segment)
        if self._segment is None:
            self._try_open()
        if self._abandoned and self._segment is not None:
            self._salvage()

    def _is_full(self, segment: OpenSegment) -> bool:
        return (
            segment.size >= self._records
            or segment.good_bytes >= SEGMENT_BYTES
            or monotonic() - segment.first_at >= self._seconds
        )

    def _now(self) -> Instant:
        """The time, never earlier than the last one given."""
        self._last = max(self._last, self._clock())
        return self._last

    def _try_open(self) -> None:
        try:
            self._segment = self._open()
        except Exception as error:  # noqa: BLE001 - the thread must outlive every fault, to try again
            if str(error) != self._fault:
                self._fault = str(error)
                self._say(
                    "serving.cannot-record",
                    "Prediction records cannot be written; answers are withheld.",
                    error,
                )
            self._opened = False
        else:
            self._fault = None
            self._opened = True

    def _open(self) -> OpenSegment:
        now = self._now()
        name = f"{now.ns:020d}-{self._entropy(NAME_BYTES).hex()}"  # names sort as times do
        key = self._entropy(KEY_BYTES)
        wrapped = wrap_key(self._home_key, key, segment=name, nonce=self._entropy(NONCE_BYTES))
        head = open_segment(SegmentHeader(segment=name, worker=self._worker, opened=now, wrapped_key=wrapped))
        handle = self._disk.create(name, head)
        return OpenSegment(name, quote(name), handle, AESGCM(key), len(head))

    def _write_or_refuse(self, batch: _Batch) -> list[str] | None:
        """Whatever fails while a batch is made, nobody is left waiting and nobody is answered."""
        try:
            return self._write(batch)
        except Exception as error:  # noqa: BLE001 - a fault here would end the thread, and with it every answer
            if self._segment is not None:
                self._abandon(self._segment, error)
            return None

    def _write(self, batch: _Batch) -> list[str] | None:
        """One batch; the receipts' tokens, or None when it is not durable."""
        segment = self._segment
        if segment is None:
            return None
        frames, hashes, tokens = batch.composed or self._compose(segment, batch.entries)
        try:
            self._disk.append(segment.handle, frames)
        except OSError as error:
            self._abandon(segment, error)
            return None
        if not segment.size:
            segment.first_at = monotonic()
        segment.good_bytes += len(frames)
        segment.grow(hashes)
        return tokens

    def _compose(self, segment: OpenSegment, entries: list[Entry]) -> Composed:
        time = str(self._now())
        random = self._entropy(2 * SALT_BYTES * len(entries))
        frames, hashes, leaves, salts = [], [], [], []
        for place, entry in enumerate(entries):
            seq = segment.size + place
            salt = random[2 * SALT_BYTES * place : 2 * SALT_BYTES * (place + 1)]
            leaf = format_leaf(
                entry.parts,
                digests=(
                    sha256(preimage(salt[:SALT_BYTES], entry.inputs)).hexdigest(),
                    sha256(preimage(salt[SALT_BYTES:], entry.outputs)).hexdigest(),
                ),
                request=entry.request,
                segment=segment.quoted,
                seq=seq,
                time=time,
            )
            frames.append(
                pack_record(segment.cipher, seq, leaf, pack_payload(salt, entry.inputs, entry.outputs))
            )
            hashes.append(leaf_hash(leaf))
            leaves.append(leaf)
            salts.append(salt)
        root, paths = batch_paths(hashes)
        statement = BatchStatement(
            segment=segment.name, first=segment.size, size=len(entries), root=root, worker=self._worker
        ).encode()
        signature = self._signer.sign(statement)
        frames.append(pack_statement(BATCH, statement, signature))
        shared = pack_batch(statement, signature)
        tokens = [
            pack_token(*each) for each in zip(leaves, [shared] * len(leaves), paths, salts, strict=True)
        ]
        return b"".join(frames), hashes, tokens

    def _seal_frame(self, name: str, size: int, root: bytes) -> bytes:
        statement = BatchStatement(
            segment=name, first=0, size=size, root=root, worker=self._worker, kind=SEAL_KIND
        ).encode()
        return pack_statement(SEAL, statement, self._signer.sign(statement))

    def _seal(self, segment: OpenSegment) -> None:
        try:
            self._disk.append(segment.handle, self._seal_frame(segment.name, segment.size, segment.root()))
            self._disk.seal(segment.name)
        except Exception as error:  # noqa: BLE001 - the thread must outlive every fault, to salvage and go on
            self._abandon(segment, error)
            return
        self._segment = None
        self._let_go(segment)

    def _let_go(self, segment: OpenSegment) -> None:
        try:
            self._disk.close(segment.handle)
        except OSError as error:
            self._say("serving.segment-close", "A segment's file could not be closed.", error)

    def _abandon(self, segment: OpenSegment, error: Exception) -> None:
        """Never write to this segment again; remember how far it was on the disk."""
        self._say("serving.segment-abandoned", f"Segment {segment.name} failed and is left as it is.", error)
        self._let_go(segment)
        self._abandoned.append(segment)
        self._segment = None

    def _salvage(self) -> None:
        """Copy what was durable of abandoned segments into sealed ones."""
        for segment in list(self._abandoned):
            try:
                if segment.size:
                    good = self._disk.read(segment.name)[: segment.good_bytes]
                    self._disk.rewrite(
                        segment.name, good + self._seal_frame(segment.name, segment.size, segment.root())
                    )
                else:
                    self._disk.discard(segment.name)
            except FileNotFoundError:  # it got its last name, and only the folder could not be synced
                pass
            except Exception:  # noqa: BLE001, S112 - the thread must outlive every fault; this is tried again
                continue
            self._abandoned.remove(segment)

    def _end(self) -> None:
        segment = self._segment
        if segment is not None and segment.size:
            self._seal(segment)
        elif segment is not None:
            self._let_go(segment)
            self._disk.discard(segment.name)
        if self._abandoned:
            self._salvage()

    def _say(self, code: str, what: str, error: Exception) -> None:
        why = error.strerror if isinstance(error, OSError) else None
        with suppress(Exception):  # nobody may be there to hear it; the thread must outlive that
            self._report(Refusal(code=code, what=what, why=why or type(error).__name__))

    # Before the thread begins.

    def recover(self) -> None:
        """Seal the segments that a crash left open, cut at their last whole batch."""
        for name in self._disk.leftovers():
            try:
                self._recover(name)
            except OSError as error:
                self._say(
                    "serving.segment-leftover",
                    f"Segment {name} of an earlier run could not be sealed.",
                    error,
                )

    def _recover(self, name: str) -> None:
        data = self._disk.read(name)
        try:
            found = scan(data)
        except Tampered as error:
            self._report(error.refusal)
            self._disk.set_aside(name)
            return
        if found.torn is not None:
            self._report(found.torn)
            self._disk.keep_tail(name, data[found.good_bytes :])
        if not found.leaves:
            self._disk.discard(name)
            return
        good = data[: found.good_bytes]
        if not found.sealed:
            good += self._seal_frame(found.header.segment, len(found.leaves), found.root)
        self._disk.rewrite(name, good)
