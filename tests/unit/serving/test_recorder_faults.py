"""The recorder on a disk that fails, hangs and comes back, in random order: what was answered is never missing."""

from __future__ import annotations

import asyncio
import errno
import random
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import PredictionRecord, Receipt, leaf_parts, verify_receipt
from gatewright.ledger.segments import scan, verify_segment
from gatewright.serving import recorder as recording
from gatewright.serving.limits import RECORD_TIME
from gatewright.serving.recorder import Recorder
from unit.serving.rig import WAIT_S, Rig, wait_for

PARTS = leaf_parts(endpoint="tumour", key="key-1", plan=1, release=Digest.of(b"release"))
ASKED = 150
LARGE = bytes(recording.COMPOSE_BYTES)


class MoodyDisk:
    """Segments in memory. Every operation may fail, before or after it did its work, or wait for ``back``."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a test
        self.moody = False
        self.hangs = False
        self.back = threading.Event()
        self.open: dict[str, bytes] = {}
        self.sealed: dict[str, bytes] = {}
        self._handles: dict[int, str] = {}
        self._next = 0

    def heal(self) -> None:
        """Work from now on, and let go whoever waits."""
        self.moody = self.hangs = False
        self.back.set()

    def _mood(self) -> bool:
        """Whether to fail after the work; raises to fail before it."""
        if not self.moody:
            return False
        if self.hangs and self._random.random() < 0.1:
            assert self.back.wait(WAIT_S)
        time.sleep(self._random.choice([0.0, 0.0, 0.0005, 0.003]))
        mood = self._random.random()
        if mood < 0.08:
            raise OSError(errno.EIO, "before")
        return mood < 0.16

    def _fail(self, late: bool) -> None:
        if late:
            raise OSError(errno.EIO, "after")

    def create(self, name: str, head: bytes) -> int:
        """Begin; a failure leaves nothing."""
        self._fail(self._mood())
        assert name not in self.open
        assert name not in self.sealed
        self.open[name] = head
        self._next += 1
        self._handles[self._next] = name
        return self._next

    def append(self, handle: int, data: bytes) -> None:
        """Append all, or on failure some."""
        name = self._handles[handle]
        late = self._mood()
        cut = self._random.choice([len(data) // 2, len(data)]) if late else len(data)
        self.open[name] += data[:cut]
        self._fail(late)

    def close(self, handle: int) -> None:
        """Once for each handle."""
        del self._handles[handle]
        self._fail(self._mood())

    def seal(self, name: str) -> None:
        """Rename, perhaps without syncing that."""
        late = self._mood()
        self.sealed[name] = self.open.pop(name)
        self._fail(late)

    def rewrite(self, name: str, data: bytes) -> None:
        """Rename over, perhaps without removing the old one."""
        late = self._mood()
        self.sealed[name] = data
        self._fail(late)
        del self.open[name]

    def read(self, name: str) -> bytes:
        """Read."""
        self._fail(self._mood())
        if name not in self.open:
            raise FileNotFoundError(errno.ENOENT, "gone")
        return self.open[name]

    def discard(self, name: str) -> None:
        """Remove."""
        self._fail(self._mood())
        self.open.pop(name, None)

    def set_aside(self, name: str) -> None:
        """Never needed here."""
        raise AssertionError(name)

    def keep_tail(self, name: str, tail: bytes) -> None:
        """Not looked at."""

    def leftovers(self) -> list[str]:
        """What is open."""
        return sorted(self.open)


class Asker:
    """Asks for records, from the loop and from threads, and notes what each was told."""

    def __init__(self, recorder: Recorder, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        self.recorder, self.loop = recorder, loop
        self._random = random.Random(seed)  # noqa: S311 - a test
        self.told: dict[str, list[str | None]] = {}
        self.promised: set[str] = set()

    def ask(self) -> None:
        """One entry."""
        name = f"q-{len(self.told)}"
        heard: list[str | None] = []
        self.told[name] = heard
        promised = self._random.random() < 0.6
        if promised:
            self.promised.add(name)
        inputs = LARGE if self._random.random() < 0.03 else b"in"
        if self._random.random() < 0.5:
            self.recorder.submit_from_thread(PARTS, name, inputs, b"out", heard.append, promised=promised)
        else:
            self.loop.call_soon_threadsafe(
                lambda: self.recorder.submit(PARTS, name, inputs, b"out", heard.append, promised=promised)
            )

    def ask_many(self, count: int) -> None:
        """So many, a few at a time, with pauses."""
        left = count
        while left > 0:
            few = min(left, self._random.choice([1, 2, 5, 40]))
            for _ in range(few):
                self.ask()
            left -= few
            time.sleep(self._random.choice([0.0, 0.0, 0.001, 0.004]))


def recorder_on(rig: Rig, disk: MoodyDisk, said: list[Refusal]) -> Recorder:
    """A recorder of small segments."""
    return Recorder(
        disk=disk,
        signer=rig.worker,
        home_key=rig.data_key,
        clock=lambda: Instant(time.time_ns()),
        report=said.append,
        seconds=0.02,
        records=17,
    )


@pytest.mark.parametrize("heals", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_what_was_answered_is_never_missing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, seed: int, *, heals: bool
) -> None:
    """Each entry is told once; a durable answer is in a segment; a promise is, or is counted as lost; no number twice."""
    monkeypatch.setattr(recording, "RECORD_TIME", replace(RECORD_TIME, value=60))
    monkeypatch.setattr(recording, "RETRY_SECONDS", 0.002)
    disk, said = MoodyDisk(seed), list[Refusal]()
    recorder = recorder_on(rig, disk, said)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    loop.call_soon_threadsafe(recorder.start, loop)
    wait_for(lambda: recorder.healthy)
    disk.moody, disk.hangs = True, seed % 2 == 0
    asker = Asker(recorder, loop, seed)
    asker.ask_many(ASKED)
    if disk.hangs:
        monkeypatch.setattr(recording, "RECORD_TIME", replace(RECORD_TIME, value=0))
        loop.call_soon_threadsafe(recorder.refuse_stuck)
        asker.ask_many(ASKED // 3)
        monkeypatch.setattr(recording, "RECORD_TIME", replace(RECORD_TIME, value=60))
    disk.hangs = False
    disk.back.set()
    if heals:
        disk.heal()
        wait_for(lambda: recorder.healthy)
        asker.ask_many(5)
        wait_for(lambda: all(asker.told.values()))
        recorder.close()
    else:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(WAIT_S)
        recorder.close()
    assert not recorder._thread.is_alive()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result(WAIT_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    disk.heal()
    recorder_on(rig, disk, said).recover()

    assert {1} == {len(heard) for heard in asker.told.values()}
    check_segments(rig, disk, asker, recorder)


def check_segments(rig: Rig, disk: MoodyDisk, asker: Asker, recorder: Recorder) -> None:
    """What was told against what is kept."""
    kept: list[bytes] = []
    for data in disk.sealed.values():
        verify_segment(scan(data), {rig.worker.public.id: rig.worker.public})
        leaves = scan(data).leaves
        times = [PredictionRecord.decode(leaf).time for leaf in leaves]
        assert sorted(times) == times
        kept += leaves
    receipts = {name: Receipt.parse(heard[0]) for name, heard in asker.told.items() if heard[0] is not None}
    for each in receipts.values():
        verify_receipt(each, rig.worker.public)
    numbers = [PredictionRecord.decode(leaf) for leaf in kept]
    missing = {name for name, each in receipts.items() if each.leaf not in set(kept)}
    given = Counter(each.id for each in receipts.values())

    assert {} == disk.open
    assert len(kept) == len({each.request for each in numbers})
    assert set() == missing - asker.promised
    assert len(missing) <= recorder.lost <= len(asker.promised)
    assert all(count == 1 for count in given.values())
