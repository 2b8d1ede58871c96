from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import PredictionRecord, Receipt, leaf_parts, matches, verify_receipt
from gatewright.ledger.segments import open_payload, scan, unwrap_key, verify_segment
from gatewright.serving import recorder as recording
from gatewright.serving.composing import Batch
from gatewright.serving.limits import RECORD_TIME
from gatewright.serving.recorder import Recorder
from gatewright.serving.segment_files import SegmentFiles
from unit.serving.rig import Rig, token_of, wait_for

PARTS = leaf_parts(endpoint="tumour", key="key-1", plan=1, release=Digest.of(b"release"))


class FailingFiles(SegmentFiles):
    """Real files, and a disk that can be told to fail at an operation."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self.faults: dict[str, int] = {}
        self.half = False
        self.held: dict[str, threading.Event] = {}
        self.reached = threading.Event()

    def _fail(self, operation: str) -> None:
        if operation in self.held:
            self.reached.set()
            self.held[operation].wait()
        if operation in self.faults:
            raise OSError(self.faults[operation], "the test says so")

    def create(self, name: str, head: bytes) -> int:
        """Fail or create."""
        self._fail("create")
        return super().create(name, head)

    def append(self, handle: int, data: bytes) -> None:
        """Fail, perhaps after half of the bytes, or append."""
        if self.half and "append" in self.faults:
            super().append(handle, data[: len(data) // 2])
        self._fail("append")
        super().append(handle, data)

    def seal(self, name: str) -> None:
        """Fail or seal."""
        self._fail("seal")
        super().seal(name)


class Desk:
    """A recorder on a loop of its own thread, as the worker has it."""

    def __init__(self, rig: Rig, disk: FailingFiles, **values: Any) -> None:
        self.said: list[Refusal] = []
        self.loop = asyncio.new_event_loop()
        self.recorder = Recorder(
            disk=disk,
            signer=rig.worker,
            home_key=rig.data_key,
            clock=lambda: Instant(time.time_ns()),
            report=self.said.append,
            **values,
        )
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.loop.call_soon_threadsafe(self.recorder.start, self.loop)
        wait_for(self.recorder._thread.is_alive)

    def ask(self, count: int = 1, *, promised: bool = False) -> list[str | None]:
        """Tokens, or None where there is no record, of this many predictions at once."""
        return self.ask_later(count, promised=promised).result(60)

    def ask_later(self, count: int = 1, *, promised: bool = False) -> Future[list[str | None]]:
        """The same, not waited for."""

        async def all_of_them() -> list[str | None]:
            asked = [token_of(self.recorder, PARTS, f"q-{each}", promised=promised) for each in range(count)]
            return await asyncio.gather(*asked)

        return asyncio.run_coroutine_threadsafe(all_of_them(), self.loop)

    def close(self) -> None:
        """Seal and end."""
        self.recorder.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@contextmanager
def desk(rig: Rig, disk: FailingFiles, **values: Any) -> Iterator[Desk]:
    """A recorder, closed at the end."""
    found = Desk(rig, disk, **values)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def disk(rig: Rig) -> FailingFiles:
    """The folder of the segments, on a disk that works so far."""
    return FailingFiles(rig.segments)


def sealed(rig: Rig) -> list[bytes]:
    """Contents of the sealed segments, each of which verifies."""
    found = [path.read_bytes() for path in sorted(rig.segments.glob("*.sealed"))]
    for data in found:
        verify_segment(scan(data), {rig.worker.public.id: rig.worker.public})
    return found


def recorded(rig: Rig) -> list[PredictionRecord]:
    """All records of the sealed segments."""
    return [PredictionRecord.decode(leaf) for data in sealed(rig) for leaf in scan(data).leaves]


def refused(answers: list[Any]) -> list[bool]:
    """Which of the answers were withheld."""
    return [each is None for each in answers]


def test_what_is_asked_together_is_signed_together(rig: Rig, disk: FailingFiles) -> None:
    """One batch gives every caller a receipt that verifies alone and is in the sealed segment."""
    with desk(rig, disk) as found:
        tokens = [str(each) for each in found.ask(20)]

    held = [Receipt.parse(token) for token in tokens]
    records = [verify_receipt(each, rig.worker.public) for each in held]
    assert recorded(rig) == records
    assert [f"q-{each}" for each in range(20)] == [each.request for each in records]
    assert 1 == len({each.statement for each in held})
    assert all(matches(each, b"in", b"out") for each in held)
    assert 40 == len({salt for each in held for salt in (each.input_salt, each.output_salt)})


def test_payloads_can_be_opened_by_the_home(rig: Rig, disk: FailingFiles) -> None:
    """The home's data key opens what was predicted; the file itself shows none of it."""
    with desk(rig, disk) as found:
        found.ask(2)

    [data] = sealed(rig)
    seen = scan(data)
    opened = open_payload(unwrap_key(rig.data_key, seen.header), 1, seen.leaves[1], seen.ciphertexts[1])
    assert (b"in", b"out") == (opened.inputs, opened.outputs)
    assert opened.input_salt not in data


def test_a_segment_is_sealed_by_age_and_by_size(rig: Rig, disk: FailingFiles) -> None:
    """A segment with a record is sealed after its time, and when it is full; a batch is cut there."""
    with desk(rig, disk, seconds=0.05) as found:
        found.ask()
        wait_for(lambda: len(sealed(rig)) == 1)
    with desk(rig, disk, records=3, seconds=60.0) as found:
        for _ in range(4):
            found.ask(2)

    assert [1, 3, 3, 2] == [len(scan(data).leaves) for data in sealed(rig)]
    assert [] == list(rig.segments.glob("*.open"))


def test_without_a_prediction_nothing_is_kept(rig: Rig, disk: FailingFiles) -> None:
    """A segment without a record leaves no file."""
    with desk(rig, disk):
        pass

    assert [] == list(rig.segments.iterdir())


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_withholds_its_answers_and_the_next_segment_takes_over(
    rig: Rig, disk: FailingFiles, code: int, half: bool
) -> None:
    """After an error nothing is retried on the file: its answers are withheld, later ones are recorded anew."""
    with desk(rig, disk) as found:
        before = found.ask(3)
        disk.faults, disk.half = {"append": code}, half
        during = found.ask(2)
        disk.faults = {}
        after = found.ask(2)
        wait_for(lambda: len(list(rig.segments.glob("*.sealed"))) == 1)

    assert [False] * 3 == refused(before)
    assert [True] * 2 == refused(during)
    assert [False] * 2 == refused(after)
    assert [3, 2] == sorted((len(scan(data).leaves) for data in sealed(rig)), reverse=True)
    assert {verify_receipt(Receipt.parse(str(token)), rig.worker.public) for token in before + after} == set(
        recorded(rig)
    )
    assert [] == list(rig.segments.glob("*.open"))


def test_a_full_disk_is_said_and_left_by_itself(rig: Rig, disk: FailingFiles) -> None:
    """While no segment can be begun the recorder is unhealthy; when there is room it recovers untold."""
    with desk(rig, disk) as found:
        assert found.recorder.healthy
        disk.faults = {"append": errno.ENOSPC, "create": errno.ENOSPC}
        assert [True] == refused(found.ask())
        wait_for(lambda: not found.recorder.healthy)
        assert [True] == refused(found.ask())
        disk.faults = {}
        wait_for(lambda: found.recorder.healthy)
        assert [False] == refused(found.ask())

    assert "serving.cannot-record" in {each.code for each in found.said}


def test_a_seal_that_fails_loses_no_record(rig: Rig, disk: FailingFiles) -> None:
    """When sealing fails, the records that were durable are sealed in a new file."""
    with desk(rig, disk, seconds=0.05) as found:
        disk.faults = {"seal": errno.EIO}
        tokens = found.ask(2)
        wait_for(lambda: "serving.segment-abandoned" in {each.code for each in found.said})
        disk.faults = {}

    assert 2 == len(tokens) == len(recorded(rig))


def test_what_a_crash_left_is_cut_and_sealed(rig: Rig, disk: FailingFiles) -> None:
    """At any byte a crash may cut, the next start seals the whole batches and keeps the torn tail apart."""
    with desk(rig, disk) as found:
        found.ask(2)
        found.ask(1)
    [path] = rig.segments.glob("*.sealed")
    data = path.read_bytes()
    path.unlink()
    seen = scan(data)
    last = seen.batches[-1]
    first_end = data.index(seen.batches[0].signature) + 64
    whole = data.index(last.signature) + 64
    for length in [*range(first_end, whole, 61), whole - 1, whole]:
        path.with_suffix(".open").write_bytes(data[:length])
        Recorder(
            disk=disk,
            signer=rig.worker,
            home_key=rig.data_key,
            clock=lambda: Instant(1),
            report=found.said.append,
        ).recover()
        assert (3 if length == whole else 2) == len(recorded(rig))
        assert (
            first_end < length < whole
            or not path.with_suffix(".damaged").exists()
            or length in {first_end, whole}
        )


def test_a_file_that_is_no_segment_is_set_aside(rig: Rig, disk: FailingFiles) -> None:
    """An open file without a readable header is kept for a person, and said."""
    (rig.segments / "bad.open").write_bytes(b"GWSE")
    with desk(rig, disk) as found:
        found.ask()

    assert (rig.segments / "bad.damaged").exists()
    assert "ledger.segment-start" in {each.code for each in found.said}


def test_a_fault_of_the_signer_withholds_answers_and_ends_nothing(rig: Rig, disk: FailingFiles) -> None:
    """Whatever fails while a batch is made, its callers are refused and the next batch is written."""
    with desk(rig, disk) as found:
        composer = found.recorder._composer
        good, composer._entropy = composer._entropy, lambda count: b"short"[:count]
        assert [True] == refused(found.ask())
        composer._entropy = good
        wait_for(lambda: found.recorder._segment is not None)
        assert [False] == refused(found.ask())


def test_time_never_goes_back(rig: Rig, disk: FailingFiles) -> None:
    """When the clock steps back, records keep the latest time that was given."""
    times = iter([Instant(5), Instant(9), Instant(3), Instant(4), Instant(5), Instant(6)])
    with desk(rig, disk) as found:
        found.recorder._clock = lambda: next(times, Instant(7))
        for _ in range(4):
            found.ask()

    stamps = [each.time for each in recorded(rig)]
    assert sorted(stamps) == stamps


@pytest.mark.parametrize("operation", ["append", "seal", "create"])
def test_a_disk_that_hangs_anywhere_is_noticed_and_comes_back(
    rig: Rig, disk: FailingFiles, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Whatever the disk hangs in, those who wait are refused and the recorder says so; later it goes on by itself."""
    monkeypatch.setattr(recording, "RECORD_TIME", replace(RECORD_TIME, value=0))
    back = threading.Event()
    with desk(rig, disk, seconds=0.05) as found:
        disk.held[operation] = back
        first = found.ask_later()
        disk.reached.wait()
        waiting = found.ask_later(2)
        wait_for(lambda: bool(found.recorder._gathered) or bool(found.recorder._flying))
        while not (first.done() and waiting.done()):
            found.loop.call_soon_threadsafe(found.recorder.refuse_stuck)
            time.sleep(0.01)
        healthy = found.recorder.healthy
        disk.held = {}
        back.set()
        wait_for(lambda: found.recorder.healthy)
        later = found.ask(2)

    assert [True, True] == refused(waiting.result())
    assert not healthy
    assert [False, False] == refused(later)


def test_an_answer_does_not_hide_the_next_batch(rig: Rig, disk: FailingFiles) -> None:
    """The answer of one batch, arriving late, leaves the batch that is being written as it is."""
    with desk(rig, disk) as found:
        found.ask()
        segment = found.recorder._segment
        assert segment is not None
        late, next_one = (Batch(segment, first, []) for first in (0, 1))
        found.recorder._flying = [next_one]
        found.recorder._answer([late], [(b"", [], [])])
        still = found.recorder._flying
        found.recorder._flying = []

    assert [next_one] == still


def test_nobody_to_tell_stops_nothing(rig: Rig, disk: FailingFiles) -> None:
    """A report that fails, as one to a closed pipe does, ends neither the thread nor the recording."""

    def broken(_: Refusal) -> None:
        raise BrokenPipeError

    with desk(rig, disk, seconds=0.05) as found:
        found.recorder._report = broken
        disk.faults = {"append": errno.EIO}
        during = found.ask()
        disk.faults = {}
        wait_for(lambda: found.recorder.healthy)
        after = found.ask()

    assert ([True], [False]) == (refused(during), refused(after))


def test_a_seal_that_only_its_folder_missed_holds_up_no_other(rig: Rig, disk: FailingFiles) -> None:
    """A segment that got its last name before the error counts as sealed, and later ones are salvaged."""
    seal = disk.seal

    def half_seal(name: str) -> None:
        disk.seal = seal  # type: ignore[method-assign]
        seal(name)
        raise OSError(errno.EIO, "the folder could not be synced")

    with desk(rig, disk, seconds=0.05) as found:
        disk.seal = half_seal  # type: ignore[method-assign]
        found.ask()
        wait_for(lambda: len(sealed(rig)) == 1)
        found.ask()
        disk.faults = {"append": errno.EIO}
        found.ask()
        disk.faults = {}
        wait_for(lambda: not found.recorder._abandoned and found.recorder.healthy)

    assert 2 == len(recorded(rig))
    assert [] == list(rig.segments.glob("*.open"))


def test_what_is_promised_is_answered_before_it_is_on_the_disk(rig: Rig, disk: FailingFiles) -> None:
    """A disk that hangs holds up durable answers only; each promise is signed, and kept when the disk is back."""
    back = threading.Event()
    with desk(rig, disk) as found:
        disk.held["append"] = back
        durable = found.ask_later(2)
        disk.reached.wait()
        promised = found.ask_later(40, promised=True).result(60)
        waits = not durable.done()
        disk.held = {}
        back.set()
        kept = durable.result(60)

    receipts = [Receipt.parse(token) for token in [*kept, *promised] if token is not None]
    expected = {each.leaf for each in receipts}
    assert waits
    assert 42 == len(expected)
    for each in receipts:
        verify_receipt(each, rig.worker.public)
    assert expected == {leaf for data in sealed(rig) for leaf in scan(data).leaves}


def test_a_promise_that_cannot_be_kept_is_counted_and_its_number_not_given_again(
    rig: Rig, disk: FailingFiles
) -> None:
    """When the disk fails, what was promised is said and counted as lost; no later record takes its place."""
    with desk(rig, disk) as found:
        assert [False] == refused(found.ask())
        disk.faults["append"] = errno.EIO
        promised = [Receipt.parse(token) for token in found.ask(40, promised=True) if token]
        wait_for(lambda: found.recorder.lost > 0)
        disk.faults = {}
        wait_for(lambda: found.recorder.healthy)
        wait_for(lambda: [False] == refused(found.ask(promised=True)))

    written = {f"{each.segment}/{each.seq}" for each in recorded(rig)}
    assert promised
    assert set() == written & {each.id for each in promised}
    assert "serving.promises-lost" in {each.code for each in found.said}
    assert found.recorder.lost >= len(promised)


def test_promises_do_not_go_before_a_durable_record_for_ever(rig: Rig, disk: FailingFiles) -> None:
    """What waits for the disk goes along with what is promised meanwhile, and all of it in one write."""
    back = threading.Event()
    written: list[int] = []
    append = disk.append
    with desk(rig, disk, seconds=60.0) as found:
        disk.held["append"] = back
        first = found.ask_later()
        disk.reached.wait()
        disk.append = lambda handle, data: (written.append(len(data)), append(handle, data))[1]  # type: ignore[method-assign]
        durable = found.ask_later(2)
        promised = [found.ask(40, promised=True) for _ in range(3)]
        wait_for(lambda: not found.recorder._gathered)
        waits = not durable.done()
        disk.held = {}
        back.set()
        kept = [first.result(60), durable.result(60)]
        writes = len(written)

    assert waits
    assert [[False], [False, False]] == [refused(each) for each in kept]
    assert 1 == writes
    assert 3 + sum(map(len, promised)) == len(recorded(rig))


def test_nobody_to_tell_of_lost_promises_stops_nothing(rig: Rig, disk: FailingFiles) -> None:
    """A report that fails while promises are lost leaves the recorder alive."""

    def broken(_: Refusal) -> None:
        raise BrokenPipeError

    with desk(rig, disk) as found:
        found.recorder._report = broken
        disk.faults = {"append": errno.EIO}
        found.ask(40, promised=True)
        wait_for(lambda: found.recorder.lost > 0)
        disk.faults = {}
        wait_for(lambda: found.recorder.healthy)
        assert [False] == refused(found.ask())


def test_whoever_asks_after_the_end_is_told(rig: Rig, disk: FailingFiles) -> None:
    """Once the recorder has ended, a request gets no token, and does not wait for one."""
    with desk(rig, disk) as found:
        found.recorder.close()
        assert [None, None] == found.ask(2)


def test_an_empty_segment_that_cannot_be_removed_does_not_spoil_the_end(
    rig: Rig, disk: FailingFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder ends well, and the next one removes it."""

    def fail(_: str) -> None:
        raise OSError(errno.EIO, "the test says so")

    with monkeypatch.context() as patch, desk(rig, disk):
        patch.setattr(disk, "discard", fail)
    left = len(list(rig.segments.glob("*.open")))
    with desk(rig, disk):
        pass

    assert 1 == left
    assert [] == list(rig.segments.iterdir())
