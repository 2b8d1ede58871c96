"""A power loss at any moment: what was not synced is lost, and nothing that was acknowledged.

Here the states are shown to be what a power loss leaves, and all sequences of up to three steps of the
storage itself are sampled. The verbs of the command line meet their losses beside their other faults, in
``test_every_verb_at_every_write``; ``make campaign`` takes all of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anomaly import plain_verbs
from anomaly.fault_injection import FaultLab, memory_folder, unavailable
from anomaly.lost_writes import Disk, held, losses, pending, read_journal, sampled
from anomaly.storage_steps import SEQUENCES, STEPS, judge_steps, prepare, run_steps

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "losses can be built")

SEED = 20260303
LOSSES = 3
EVERY = 29
"""Of the sequences of steps, each so-manieth is tried here."""


@pytest.fixture(scope="module")
def lab() -> Iterator[FaultLab]:
    """One laboratory for this file."""
    preload, paths = ["anomaly.storage_steps"], [Path(__file__).parents[1]]
    with memory_folder() as folder, FaultLab(folder, preload=preload, paths=paths) as made:
        prepare(folder / "store")
        (folder / "empty").mkdir()
        yield made


def test_sequences_of_storage_steps_survive_a_power_loss(lab: FaultLab) -> None:
    """After up to three steps of the storage, what returned is there, and the next step is there whole or not."""
    assert len(STEPS) + len(STEPS) ** 2 + len(STEPS) ** 3 == len(SEQUENCES)
    for names in SEQUENCES[::EVERY]:
        run = run_steps(lab, names, lab.folder / "store")
        assert held(lab.home) == run.replayed(lab.folder / "judged"), "the journal misses a change"
        for loss in sampled(run.changes, LOSSES, SEED):
            judge_steps(lab.folder / "judged", names, run, loss)


def test_a_missing_sync_is_found(lab: FaultLab) -> None:
    """What the losses are there for: a file moved into place unsynced may be missing, empty or half."""
    disk = Disk.of(lab.folder / "empty")
    journal = lab.journal(f"{plain_verbs.__name__}:moved_unsynced", lab.folder / "empty")
    changes = read_journal(journal, lab.home, disk)
    assert ["create", "chmod", "write", "rename"] == [changes[each].what for each in pending(changes)]
    found = [dict(loss.leaves(disk, changes).files()).get("final") for loss in losses(changes)]
    whole = plain_verbs.TEXT
    assert {None, b"", whole[: len(whole) // 2], whole} == {node and node.data for node in found}


def test_a_change_below_a_lost_folder_is_lost(lab: FaultLab) -> None:
    """Nothing is in a folder whose own name was lost, and what was to be moved into it is where it was."""
    disk = Disk.of(lab.folder / "empty")
    journal = lab.journal(f"{plain_verbs.__name__}:moved_into_a_folder", lab.folder / "empty")
    changes = read_journal(journal, lab.home, disk)
    made = next(number for number, change in enumerate(changes) if change.what == "mkdir")
    loss = next(one for one in losses(changes) if one.lost == {made} and one.after == len(changes))
    assert ["", "draft"] == [path for path, _ in loss.leaves(disk, changes).files()]
