"""Every verb that writes, failed at its writes: the old state is found or the new, never a mix.

After each fault the judge (``home_verbs``) asserts:

- the command ended with a clear error (exit code 4; 130 for Ctrl-C) or was killed, never with an
  internal fault or a traceback; one that reported success has had its effect;
- the home opens as it is, holds the old state or the new, and verifies whole; its documents follow
  from its records; of ``init`` a whole home is there or none, of ``export`` a folder that verifies;
- the same command, typed again, succeeds or says that it was done already;
- after that no unfinished file lies in the home. Keys of nobody and blobs that no record names may:
  both are made before the record, and a record must never name what is not there.

After a power loss the same holds, whatever of the unsynced changes is gone (``lost_writes``); and what
was acknowledged before it is there.

``ship`` is four verbs in a row and may stop between two. A killed ``data split`` may leave its output
files, which the next try takes as its own. Here each verb meets a seeded sample of points; ``make campaign`` takes all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anomaly.fault_injection import FaultLab, Mode, memory_folder, unavailable
from anomaly.home_verbs import COMMAND, FAULTS, VERBS, Homes, Verb, judge, sample
from anomaly.lost_writes import held, sampled
from anomaly.power_losses import judge_verb, run_verb
from gatewright.kernel.errors import Tampered

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "faults can be injected")

SEED = 20260303
LOSSES = 4
LOST_HERE = ("init", "user-add", "model-add", "deploy", "rotate-root", "collect", "backup", "export")
"""Verbs whose power losses are sampled here; the campaign takes all."""


@pytest.fixture(scope="module")
def lab() -> Iterator[FaultLab]:
    """One laboratory for this file."""
    paths = [Path(__file__).parents[1]]
    with memory_folder() as folder, FaultLab(folder, preload=["anomaly.home_verbs"], paths=paths) as made:
        yield made


@pytest.fixture(scope="module")
def homes(lab: FaultLab) -> Homes:
    """The prepared homes."""
    return Homes(lab, lab.folder / "homes")


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_fault_leaves_the_old_state_or_the_new(lab: FaultLab, homes: Homes, verb: Verb) -> None:
    """Whatever fails, wherever in the verb, nothing is half done, lost, or in the way of the next try."""
    prepared = homes.prepared(verb.name)
    for mode, sticky, point in sample(prepared, verb.sampled, SEED):
        outcome = lab.run(
            COMMAND, prepared.template, point, mode, sticky=sticky, arguments=prepared.verb.arguments
        )
        try:
            judge(lab, prepared, outcome)
        except Exception as error:
            where = prepared.points[point - 1] if point <= len(prepared.points) else "past the end"
            raise AssertionError(f"{verb.name}: {mode.name} at {point}, {where}: {error}") from error


@pytest.mark.parametrize("name", LOST_HERE)
def test_a_power_loss_leaves_the_old_state_or_the_new(lab: FaultLab, homes: Homes, name: str) -> None:
    """Whatever of the unsynced changes is lost, nothing is half done, and nothing acknowledged is gone."""
    prepared = homes.prepared(name)
    run = run_verb(lab, prepared)
    assert held(lab.home) == run.replayed(lab.folder / "judged"), "the journal misses a change"
    for loss in sampled(run.changes, LOSSES, SEED):
        judge_verb(lab, prepared, run, loss)


def test_faults_are_where_they_should_be(homes: Homes) -> None:
    """Every verb writes the ledger under the lock, and the sample meets every kind of fault."""
    for name in ("user-add", "approve", "rollback"):
        points = homes.prepared(name).points
        assert {"pwrite .gatewright/lock", "fdatasync .gatewright/ledger.db-wal"} <= set(points)
    chosen = {
        (mode, sticky)
        for verb in VERBS
        for mode, sticky, _ in sample(homes.prepared(verb.name), verb.sampled, SEED)
    }
    assert set(FAULTS) == chosen


def test_the_judge_finds_a_mix(lab: FaultLab, homes: Homes) -> None:
    """A ledger put back behind its published plan is not taken for either state: the home itself refuses."""
    prepared = homes.prepared("deploy")
    done = lab.run(COMMAND, prepared.template, 0, Mode.COUNT, arguments=prepared.verb.arguments)
    for ending in ("", "-wal"):
        (done.home / f".gatewright/ledger.db{ending}").unlink(missing_ok=True)
    (done.home / ".gatewright/ledger.db").write_bytes(
        (prepared.template / ".gatewright/ledger.db").read_bytes()
    )
    with pytest.raises(Tampered, match="older copy"):
        judge(lab, prepared, done)
