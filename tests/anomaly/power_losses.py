"""Power losses of the command line's verbs, and their judge."""

from __future__ import annotations

from pathlib import Path

from anomaly.fault_injection import FaultLab
from anomaly.home_verbs import COMMAND, FOLDER, Prepared, judge_left
from anomaly.lost_writes import Loss, Run, journaled

RUN_BEFORE = b"11111111-2222-3333-4444-555555555555"


def run_verb(lab: FaultLab, prepared: Prepared) -> Run:
    """The verb in a copy of its home."""
    return journaled(lab, COMMAND, prepared.template, prepared.verb.arguments)


def judge_verb(lab: FaultLab, prepared: Prepared, run: Run, loss: Loss) -> bool:
    """Assert all that must hold of what the loss leaves; returns whether it is the new state."""
    root = lab.folder / "judged"
    loss.leaves(run.disk, run.changes).write(root)
    restarted(root / FOLDER / "lock")
    try:
        new = judge_left(lab, prepared, root).new
        assert new or loss.after < len(run.changes), "it was acknowledged, and is lost"
    except Exception as error:
        raise AssertionError(f"{prepared.verb.name}: {loss.name}: {error}") from error
    return new


def restarted(lock: Path) -> None:
    """Make a lock's file what it is after a restart: if it names a run of the machine, then an earlier one."""
    if lock.exists() and b"-" in lock.read_bytes():
        lock.write_bytes(RUN_BEFORE)
