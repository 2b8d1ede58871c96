"""A witness whose disk fails or that is killed: it cosigns what it keeps, and keeps what it cosigned."""

from __future__ import annotations

import http.client
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anomaly.fault_injection import FaultLab, Mode, Outcome, memory_folder, unavailable
from anomaly.witness_verbs import ANSWER, LOG, NEW, OLD, prepare
from gatewright.assembly.witnesses import open_witness
from gatewright.ledger.checkpoints import Checkpoint, read_checkpoint_text
from gatewright.ledger.notes import SignatureType
from gatewright.ledger.witnessing import Declined, Ground
from gatewright.operations import witness
from gatewright.operations.witness import file_name
from scenario.witness_world import made_witness, served_witness
from unit.ledger.submitting_log import SubmittingLog

VERBS = "anomaly.witness_verbs"
MODES = [mode for mode in Mode if mode is not Mode.COUNT]
KILLS = 5
SEED = 20260303
needs_faults = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "faults can be injected")


@pytest.fixture(scope="module")
def lab() -> Iterator[FaultLab]:
    """One laboratory for this file."""
    paths = [Path(__file__).parents[1]]
    with memory_folder() as folder, FaultLab(folder, preload=[VERBS], paths=paths) as made:
        prepare(folder / "template")
        yield made


def kept(folder: Path) -> Checkpoint:
    """What the witness in a folder cosigned last; it must hold."""
    return next(one.head for one in witness.seen(open_witness(folder)) if one.log.origin == LOG.origin)


def judge(outcome: Outcome, answer: Path) -> None:
    """The old head or the new; an answer only for what is kept; the next try succeeds; a fork is declined."""
    found = kept(outcome.home)
    answered = answer.exists() and outcome.exit == 0
    assert found in ((LOG.head(NEW),) if answered else (LOG.head(OLD), LOG.head(NEW)))
    opened = open_witness(outcome.home)
    again = witness.add_checkpoint(opened, LOG.submission(found.size, NEW).encode())
    assert isinstance(again, bytes)
    fork = replace(LOG, fork="other", differs=OLD)
    for old in (OLD, NEW):
        declined = witness.add_checkpoint(opened, fork.submission(old, NEW).encode())
        assert isinstance(declined, Declined)
    assert LOG.head(NEW) == kept(outcome.home)


@needs_faults
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_fault_at_any_write_leaves_the_old_head_or_the_new(lab: FaultLab, mode: Mode) -> None:
    """Whichever effect of a cosignature fails or is the last, no answer leaves for a head that is not kept."""
    count = 0
    for outcome in lab.every(f"{VERBS}:cosign", lab.folder / "template", mode):
        judge(outcome, outcome.home.parent / ANSWER)
        count += 1
    assert count > 3


@needs_faults
@pytest.mark.parametrize("mode", [Mode.ENOSPC, Mode.KILL_TORN, Mode.KILL_AFTER], ids=lambda mode: mode.name)
def test_a_fault_while_a_log_becomes_known_leaves_it_known_or_not(lab: FaultLab, mode: Mode) -> None:
    """A log whose keys were being written is known with its empty head, or can be made known again; others go on."""
    two = replace(LOG, origin="log.example/two")
    for outcome in lab.every(f"{VERBS}:trust_another", lab.folder / "template", mode):
        opened = open_witness(outcome.home)
        assert LOG.head(OLD) == kept(outcome.home)
        found = witness.add_checkpoint(opened, two.submission(0, 1).encode())
        assert isinstance(found, bytes) or found.ground is Ground.UNKNOWN_LOG
        witness.trust(opened, tuple(key.text() for key in two.known.keys))
        size = 1 if isinstance(found, bytes) else 0
        assert isinstance(witness.add_checkpoint(opened, two.submission(size, 2).encode()), bytes)


@needs_faults
@pytest.mark.parametrize("mode", [Mode.EIO, Mode.KILL_BEFORE], ids=lambda mode: mode.name)
def test_a_witness_is_made_whole_or_not_at_all(lab: FaultLab, mode: Mode) -> None:
    """Whatever fails while it is made, there is a whole witness under the name or none."""
    for outcome in lab.every(f"{VERBS}:make", None, mode):
        place = outcome.home / "w1"
        if place.exists():
            assert 2 == len(open_witness(place).keys)


def test_a_witness_that_dies_between_keeping_and_answering_lost_nothing(tmp_path: Path) -> None:
    """Killed once the head is kept: no answer came, the head stands, a fork is declined, the log goes on."""
    folder = made_witness(tmp_path / "w1", LOG)
    tests = str(Path(__file__).parents[1])
    with (
        served_witness(folder, program=("-m", f"{VERBS}"), extra={"PYTHONPATH": tests}) as dying,
        pytest.raises((http.client.HTTPException, OSError)),
    ):
        dying.submit(LOG, 0, OLD)
    assert -signal.SIGKILL == dying.process.returncode
    assert LOG.head(OLD) == kept(folder)
    with served_witness(folder) as again:
        fork = replace(LOG, fork="other", differs=1)
        assert [409, 409] == [again.submit(fork, old, OLD).status for old in (0, OLD)]
        assert [409, 200, 200] == [
            again.submit(LOG, *sizes).status for sizes in ((0, NEW), (OLD, OLD), (OLD, NEW))
        ]


def test_no_head_that_was_answered_is_forgotten_when_the_witness_is_killed_again_and_again(
    tmp_path: Path,
) -> None:
    """SIGKILL at any moment: whatever a caller holds, the witness that starts again has it or an extension of it."""
    log = SubmittingLog(types=(SignatureType.ED25519,))
    folder = made_witness(tmp_path / "w1", log)
    chance = random.Random(SEED)  # noqa: S311 - when to kill is no secret
    answered = 0
    for _ in range(KILLS):
        with served_witness(folder) as served:
            note = served.ask("GET", f"/checkpoint/{file_name(log.origin)}")
            size = (
                read_checkpoint_text(note.body.partition(b"\n\n")[0] + b"\n").size
                if note.status == 200
                else 0
            )
            assert size >= answered
            assert 200 == served.submit(log, size, size + 1).status
            size = answered = size + 1
            timer = threading.Timer(chance.uniform(0.0, 0.2), served.process.kill)
            timer.start()
            try:
                while served.submit(log, size, size + 1).status == 200:
                    size += 1
                    answered = size
            except (http.client.HTTPException, OSError):
                pass
            finally:
                timer.join()
    assert answered >= KILLS
    assert kept(folder).size >= answered
    assert log.head(kept(folder).size) == kept(folder)
