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
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, perf_counter_ns

from gatewright.kernel.errors import Refusal
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import quote
from gatewright.ledger.segments import SEGMENT_RECORDS
from gatewright.ports import Signer
from gatewright.serving.composing import Batch, Composed, Composer, Entry, Then
from gatewright.serving.leftovers import recover
from gatewright.serving.limits import RECORD_TIME
from gatewright.serving.open_segment import OpenSegment
from gatewright.serving.segment_disk import SegmentDisk

SEGMENT_SECONDS = 2.0
SEGMENT_BYTES = 256 * 2**20
RETRY_SECONDS = 0.5
COMPOSE_BYTES = 262_144
"""A batch of more payload is composed by the thread: hashing it would hold up the event loop."""

AHEAD_RECORDS = 32
AHEAD_SECONDS = 0.001
"""While the disk is busy, promised records are signed when there are so many, or the first waited so long."""

AHEAD_BATCHES = 1_024
"""So many batches at most wait for the disk: what is promised beyond waits for it, too."""

Report = Callable[[Refusal], None]


def _nothing(token: str | None) -> None:
    """An entry that was settled already."""


class Recorder:
    """Writes prediction records. ``submit`` on the event loop; the disk's work in a thread of its own.

    The segment belongs to the thread, but while ``_free`` it stands still and the loop may look at it;
    while the thread is ``_appending``, the loop may compose *ahead* what comes after (promised records,
    whose receipts go before they are on the disk), and says so by ``_coming``. Whoever changes one of
    the three, does it under ``_wake``.

    ``take`` has it sign with another key from the next batch on; from any thread. ``home_key`` wraps each segment's data key; ``entropy`` gives random bytes; ``report`` is told
    what a person should know, from either thread. ``recorded`` and ``not_recorded`` count predictions,
    ``lost`` those that were promised and could not be kept, ``batches`` group commits, and ``sync_ns``
    the nanoseconds that the disk took for them.
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
        self._clock = clock
        self._report = report
        self._composer = Composer(signer, home_key, self._now, entropy)
        self.take = self._composer.take
        self._seconds = seconds
        self._records = records
        self._last = Instant(0)
        self._fault: str | None = None
        self._segment: OpenSegment | None = None
        self._abandoned: list[OpenSegment] = []
        self._gathered: list[Entry] = []
        self._promised = 0
        self._flying: list[Batch] = []
        self._handed_in: deque[Entry] = deque()
        self._called = False
        self._since = 0.0
        self._free = False
        self._appending = False
        self._coming = False
        self._queue: deque[Batch] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._opened = False
        self._stuck = False
        self.recorded = 0
        self.not_recorded = 0
        self.lost = 0
        self.batches = 0
        self.sync_ns = 0

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

    def recover(self) -> None:
        """Seal the segments that a crash left open, cut at their last whole batch."""
        recover(self._disk, self._composer, self._report)

    def submit(
        self,
        parts: tuple[str, str, str],
        request: str,
        inputs: bytes,
        outputs: bytes,
        then: Then,
        *,
        promised: bool = False,
    ) -> None:
        """Ask for a record; ``then`` is called on the loop with the receipt's token, or None without one.

        It is called when the record is on the disk; for a ``promised`` one as soon as it is signed.
        """
        self._gather(Entry(parts, quote(request), inputs, outputs, then, promised))

    def submit_from_thread(
        self,
        parts: tuple[str, str, str],
        request: str,
        inputs: bytes,
        outputs: bytes,
        then: Then,
        *,
        promised: bool = False,
    ) -> None:
        """The same from any other thread; after the end, ``then`` may be called on that thread."""
        self._handed_in.append(Entry(parts, quote(request), inputs, outputs, then, promised))
        if self._called:  # the loop was called already and has not looked yet
            return
        self._called = True
        try:
            self._loop_of().call_soon_threadsafe(self._take_in)
        except RuntimeError:  # the loop was closed meanwhile
            self._refuse_handed_in()

    def _take_in(self) -> None:
        """Gather what other threads handed in."""
        self._called = False
        while self._handed_in:
            self._gather(self._handed_in.popleft())

    def _refuse_handed_in(self) -> None:
        self._called = False
        with suppress(IndexError):  # another thread may be at it, too
            while True:
                self._handed_in.popleft().then(None)

    def _loop_of(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None  # noqa: S101 - start comes first
        return self._loop

    def _gather(self, entry: Entry) -> None:
        if self._ended:
            self._settle([entry], None)
            return
        if not self._gathered:
            self._loop_of().call_soon(self._hand_over)
            if not self._flying:
                self._since = monotonic()
        self._gathered.append(entry)
        if entry.promised:
            self._promised += 1
            if self._promised == AHEAD_RECORDS:
                self._loop_of().call_soon(self._go_ahead)
            elif self._promised == 1:
                self._loop_of().call_later(AHEAD_SECONDS, self._go_ahead)

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
            self._appending = self._coming = segment is not None
        if segment is None:
            self._refuse_all()
        else:
            room = max(1, self._records - segment.planned)
            self._send(segment, self._gathered[:room], self._gathered[room:])

    def _go_ahead(self) -> None:
        """While the thread waits for the disk, compose what was promised, to be written next.

        What waits for its record beside it goes along, so that no stream of promises goes before it
        for ever; and a segment whose time is over is left to be sealed.
        """
        with self._wake:
            segment = self._segment
            if not self._promised or not self._appending or self._coming or segment is None:
                return
            if segment.planned >= self._records or (segment.size and self._is_full(segment)):
                return  # it is sealed first
            if len(self._flying) >= AHEAD_BATCHES:
                return
            self._coming = True
        room = self._records - segment.planned
        self._send(segment, self._gathered[:room], self._gathered[room:])

    def _send(self, segment: OpenSegment, entries: list[Entry], left: list[Entry]) -> None:
        """Hand over some of what was gathered; the segment has room for it."""
        self._gathered = left
        self._promised = sum(entry.promised for entry in left)
        if not self._flying:
            self._since = monotonic()
        batch = Batch(segment, segment.planned, entries)
        self._compose_here(batch)
        segment.planned += len(entries)
        self._flying.append(batch)
        with self._wake:
            self._queue.append(batch)
            self._coming = False
            self._wake.notify()
        if batch.composed is not None:
            self._promise(batch.entries, batch.composed[2])

    def _compose_here(self, batch: Batch) -> None:
        """Compose a small batch; what fails here fails again in the thread, which knows what to do."""
        with suppress(Exception):
            batch.time = str(self._now())
            if sum(len(entry.inputs) + len(entry.outputs) for entry in batch.entries) <= COMPOSE_BYTES:
                batch.composed = self._composer.batch(batch)

    def _promise(self, entries: list[Entry], tokens: list[str]) -> None:
        """Let the promised ones of a batch go, before it is on the disk."""
        for entry, token in zip(entries, tokens, strict=True):
            if entry.promised:
                self._tell(entry, token)

    def refuse_stuck(self) -> None:
        """Refuse what waits for a disk that does not come back; called every now and then.

        What waits may be a batch that is written, or requests that came while a segment is sealed,
        opened or salvaged; ``_since`` is when either began to wait.
        """
        late = monotonic() - self._since > RECORD_TIME.value or not self._thread.is_alive()
        if late and (self._flying or self._gathered):
            self._stuck = True
            self._refuse_all()

    def _refuse_all(self) -> None:
        stuck = [entry for batch in self._flying for entry in batch.entries] + self._gathered
        self._flying, self._gathered, self._promised = [], [], 0
        self._settle(stuck, None)

    def close(self) -> None:
        """Write what waits, seal, and end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(RECORD_TIME.value)

    def _answer(self, batches: Sequence[Batch], composed: Sequence[Composed] | None) -> None:
        """Let the answers of batches that were written together go, and begin the next one."""
        for batch in batches:
            if batch in self._flying:  # not where it was refused meanwhile
                self._flying.remove(batch)
                self._since = monotonic()
        if composed is not None:
            self.batches += 1
        for place, batch in enumerate(batches):
            self._settle(batch.entries, None if composed is None else composed[place][2])
        self._hand_over()
        self._go_ahead()

    def _settle(self, entries: Sequence[Entry], tokens: Sequence[str] | None) -> None:
        if tokens is None:
            self.not_recorded += sum(entry.then is not _nothing for entry in entries)
        else:
            self.recorded += len(entries)
        for place, entry in enumerate(entries):
            self._tell(entry, None if tokens is None else tokens[place])

    def _tell(self, entry: Entry, token: str | None) -> None:
        then, entry.then = entry.then, _nothing
        try:
            then(token)
        except Exception as error:  # noqa: BLE001 - one caller's fault is not the next one's
            self._say("serving.fault", "An answer failed after its record.", error)

    # In the thread.

    def _work(self) -> None:
        self._release(self._hand_over)
        while True:
            batches = self._next()
            if not batches and self._closing and not self._left():
                break
            settled = (self._answer, batches, self._write_or_refuse(batches)) if batches else None
            with self._wake:
                self._appending = bool(self._queue) or self._coming
            if settled and (self._appending or self._to_tend()):
                self._call(*settled)
            elif settled:
                self._release(*settled)
                continue
            if not self._appending:
                self._tend()
                self._release(self._hand_over)
        self._end()
        self._call(self._finish)

    def _finish(self) -> None:
        """On the loop, after the thread: nothing that was asked, or will be, has a record any more."""
        self._ended = True
        self._take_in()
        self._refuse_all()

    def _release(self, then: Callable[..., None], *values: object) -> None:
        """Let the loop have the segment, and do what comes next."""
        self._free = True
        self._call(then, *values)

    def _next(self) -> list[Batch]:
        """Wait for batches, or until something else is to be done (none); the segment is the thread's again.

        Those that were composed ahead are written together: on a slow disk they would queue up.
        """
        with self._wake:
            while not self._queue:
                over = self._closing and not self._left()
                if self._free and (over or not self._wake.wait(self._pause())) and self._free:
                    self._free = False
                    return []
                if not self._free:
                    self._wake.wait_for(lambda: bool(self._queue))
            taken = [self._queue.popleft()]
            while taken[0].composed and self._queue and self._queue[0].composed:
                taken.append(self._queue.popleft())
            return taken

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
            self._segment = self._composer.begin(self._disk)
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

    def _write_or_refuse(self, batches: list[Batch]) -> list[Composed] | None:
        """Whatever fails while a batch is made, nobody is left waiting and nobody is answered."""
        segment = batches[0].segment
        composed = None
        try:
            composed = self._write(segment, batches)
        except Exception as error:  # noqa: BLE001 - a fault here would end the thread, and with it every answer
            if self._segment is segment:
                self._abandon(segment, error)
        if composed is None:
            given = [batch for batch in batches if batch.composed is not None]
            self._lose(sum(entry.promised for batch in given for entry in batch.entries))
        return composed

    def _lose(self, count: int) -> None:
        self.lost += count
        if count:
            what = f"{count:,} predictions were answered and could not be recorded."
            why = "The disk failed before they were on it; asynchronous recording allows that."
            self._say("serving.promises-lost", what, why)

    def _write(self, segment: OpenSegment, batches: list[Batch]) -> list[Composed] | None:
        """Batches that come next in their segment, composed; None when they are not durable."""
        if segment is not self._segment:
            return None
        composed = [batch.composed or self._composer.batch(batch) for batch in batches]
        frames = b"".join([each[0] for each in composed])
        begun = perf_counter_ns()
        try:
            self._disk.append(segment.handle, frames)
        except OSError as error:
            self._abandon(segment, error)
            return None
        self.sync_ns += perf_counter_ns() - begun
        if not segment.size:
            segment.first_at = monotonic()
        segment.good_bytes += len(frames)
        for _, hashes, _ in composed:
            segment.grow(hashes)
        return composed

    def _seal(self, segment: OpenSegment) -> None:
        try:
            self._disk.append(segment.handle, self._composer.seal(segment.name, segment.size, segment.root()))
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
                        segment.name, good + self._composer.seal(segment.name, segment.size, segment.root())
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
            with suppress(OSError):  # the next start removes it
                self._disk.discard(segment.name)
        if self._abandoned:
            self._salvage()

    def _say(self, code: str, what: str, error: Exception | str) -> None:
        why = error.strerror if isinstance(error, OSError) else error if isinstance(error, str) else None
        with suppress(Exception):  # nobody may be there to hear it; the thread must outlive that
            self._report(Refusal(code=code, what=what, why=why or type(error).__name__))
